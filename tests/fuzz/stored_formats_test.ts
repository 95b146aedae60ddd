/** Fuzzes checkpoints in the formats of stored weights that other programs write. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { ModelError } from "../../src/base/files/file_error.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openDense } from "../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { tensorBytes } from "../../src/tensor/dtype.ts";
import { encodeHeader, type TensorSpec } from "../../src/tensor/safetensors/encode.ts";
import { FOLDER, memoryFolder } from "../support/memory_folder.ts";
import { STORED_CASES } from "../support/stored_cases.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { fuzz, unlessRefused } from "./property.ts";

const isModelError = (error: unknown) => error instanceof ModelError;

/** One change of a tensor: another dtype, another extent, or random bytes. */
const changes = fc.array(
  fc.record({
    tensor: fc.nat(3),
    dtype: fc.option(
      fc.constantFrom<TensorSpec["dtype"]>("F8_E4M3", "F8_E8M0", "I8", "U8", "I32", "F16", "BF16", "F32"),
      { freq: 3 },
    ),
    axis: fc.nat(3),
    extent: fc.option(fc.constantFrom(0, 1, 2, 3, 8, 16, 64), { freq: 3 }),
    byte: fc.nat(255),
  }),
  { maxLength: 2 },
);

const checkpoints = fc.constantFrom(...STORED_CASES).chain((stored) =>
  fc.tuple(
    fc.constant(stored),
    changes,
    fc.oneof(fc.constant(JSON.stringify(stored.config)), damagedJson([stored.config], 1)),
  )
);

describe("fuzzing stored weights", () => {
  fuzz("checkpoint in a format of stored weights", checkpoints, async ([stored, changes, config]) => {
    const tensors = Object.entries(stored.tensors);
    const specs = tensors.map(([name, { dtype, shape }], i): TensorSpec => {
      const change = changes.find(({ tensor }) => tensor === i);
      const extents = shape.map((extent, axis) => axis === change?.axis ? change.extent ?? extent : extent);
      return { name, dtype: change?.dtype ?? dtype, shape: extents };
    });
    const { bytes, dataBytes } = encodeHeader(specs), weights = new Uint8Array(bytes.length + dataBytes);
    weights.set(bytes);
    let at = bytes.length;
    for (const [i, { dtype, shape }] of specs.entries()) {
      const size = tensorBytes(dtype, shape), change = changes.find(({ tensor }) => tensor === i);
      weights.set(tensors[i][1].data.subarray(0, size), at);
      if (change) weights.fill(change.byte, at, at + size / 2);
      at += size;
    }
    const fs = memoryFolder({ "config.json": config, "model.safetensors": weights });
    const opened = await unlessRefused(
      async () => await openDense(await openCheckpoint(FOLDER, fs)),
      isModelError,
    );
    if (!opened) return "refused";
    let isWhole = true;
    for (const name of Object.keys(stored.weights).filter((name) => opened.has(name))) {
      const { dtype, shape } = opened.info(name);
      const tensor = await unlessRefused(() => opened.tensor(name), isModelError);
      isWhole &&= tensor !== undefined;
      assert.ok(tensor === undefined || tensor.data.byteLength === tensorBytes(dtype, shape));
    }
    return isWhole ? "accepted" : "refused";
  });
});
