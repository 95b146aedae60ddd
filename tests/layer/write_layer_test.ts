/**
 * Tests encodeAnswer(), which streams a pruned layer from a device as a safetensors file. The layers have
 * every dtype, and some have several tiles and strips (ranges of rows that are read at once).
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { TiledMatrix, writeMatrix } from "../../src/device/tiled_matrix.ts";
import { encodeAnswer } from "../../src/layer/write_layer.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { reportSchema } from "../../src/protocol/resources/layers.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import type { Solution } from "../../src/layer/solvers/solver.ts";
import { floatsToBytes } from "../../src/tensor/dtype.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { upload } from "../support/device.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";
import { packBits } from "./bodies.ts";
import { report } from "../client/fake_host.ts";
import { memoryBackend } from "../host/memory_backend.ts";

const REPORT: Report = { ...report(1, 1), adapter: "θ" };

function makeSolution(backend: Backend, rows: number, cols: number, edge: number) {
  const next = uniform(rows * cols), words = Math.ceil(cols / 32);
  const values = normals(rows * cols, cols);
  const kept = Uint8Array.from(values, () => next() < 0.5 ? 1 : 0);
  const bits = new Uint32Array(rows * words);
  kept.forEach((keep, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    bits[r * words + (c >>> 5)] |= keep << (c & 31);
    if (!keep) values[i] = 0;
  });
  const q = new TiledMatrix(backend, { label: "q", rows, cols, edge });
  writeMatrix(backend, q, values);
  const mask = upload(backend, bits);
  const solution: Solution = {
    q,
    mask,
    zeros: 0,
    loss: null,
    weightForm: null,
    destroy() {
      q.destroy();
      mask.destroy();
    },
  };
  return { values, kept, solution };
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

eachBackend("encodeAnswer", (backend) => {
  for (const dtype of ["F32", "F16", "BF16"] as const) {
    for (const [rows, cols] of [[1, 1], [3, 31], [33, 32], [70, 28], [70, 41], [5, 129]]) {
      it(`writes a ${rows}×${cols} layer in ${dtype}`, async () => {
        const before = backend().counters.bytesLive;
        const { values, kept, solution } = makeSolution(backend(), rows, cols, 32);
        const answer = encodeAnswer(backend(), solution, dtype, REPORT);
        const file = await collect(answer.chunks());
        solution.destroy();
        assert.equal(backend().counters.bytesLive, before);
        assert.equal(file.length, answer.byteLength);
        const { header, tensors } = decode(file);
        const { weight, mask } = Object.fromEntries(tensors);
        assert.deepEqual([weight.dtype, weight.shape], [dtype, [rows, cols]]);
        assertSame(weight.data, floatsToBytes(values, dtype));
        assert.deepEqual([mask.dtype, mask.shape], ["U8", [rows, Math.ceil(cols / 8)]]);
        assertSame(mask.data, packBits(kept, rows, cols));
        assert.deepEqual(reportSchema.parse(JSON.parse(header.metadata.report)), REPORT);
      });
    }
  }

  for (const [rows, cols, groupSize] of [[1, 1, 0], [3, 31, 0], [33, 32, 8], [70, 41, 20], [5, 129, 43]]) {
    it(`writes the codes and grids of ${rows}×${cols} weights that are rounded in groups of ${groupSize || "all"} columns`, async () => {
      const before = backend().counters.bytesLive;
      const groups = groupSize ? Math.ceil(cols / groupSize) : 1;
      const { kept, solution } = makeSolution(backend(), rows, cols, 32);
      const next = uniform(3);
      const scales = Float32Array.from({ length: rows * groups }, () => 0.01 + next());
      const zeros = Float32Array.from({ length: rows * groups }, () => Math.floor(16 * next()));
      const gridOf = (i: number) =>
        Math.floor(i / cols) * groups + (groupSize ? Math.floor((i % cols) / groupSize) : 0);
      const codes = Uint8Array.from(kept, (keep, i) => keep ? Math.floor(16 * next()) : zeros[gridOf(i)]);
      const values = Float32Array.from(codes, (code, i) => (code - zeros[gridOf(i)]) * scales[gridOf(i)]);
      writeMatrix(backend(), solution.q, values);
      const quantized = {
        scales: upload(backend(), scales),
        zeros: upload(backend(), zeros),
        groups,
        groupSize,
      };
      const answer = encodeAnswer(backend(), { ...solution, quantized }, "BF16", REPORT);
      const file = await collect(answer.chunks());
      for (const resource of [solution, quantized.scales, quantized.zeros]) resource.destroy();
      assert.equal(backend().counters.bytesLive, before);
      assert.equal(file.length, answer.byteLength);
      const tensors = Object.fromEntries(decode(file).tensors);
      assert.deepEqual(Object.keys(tensors).sort(), ["codes", "mask", "scales", "weight", "zeros"]);
      assert.deepEqual([tensors.codes.dtype, tensors.codes.shape], ["U8", [rows, cols]]);
      assertSame(tensors.codes.data, codes);
      for (const [name, expected] of [["scales", scales], ["zeros", zeros]] as const) {
        assert.deepEqual([tensors[name].dtype, tensors[name].shape], ["F32", [rows, groups]]);
        assertSame(tensors[name].data, floatsToBytes(expected, "F32"));
      }
      assertSame(tensors.weight.data, floatsToBytes(values, "BF16"));
      assertSame(tensors.mask.data, packBits(kept, rows, cols));
    });
  }

  it("frees its buffers when the reader stops early", async () => {
    const before = backend().counters.bytesLive;
    const { solution } = makeSolution(backend(), 40, 40, 32);
    let chunkCount = 0;
    for await (const _ of encodeAnswer(backend(), solution, "F16", REPORT).chunks()) {
      if (++chunkCount === 2) break;
    }
    solution.destroy();
    assert.equal(backend().counters.bytesLive, before);
  });
});

describe("an answer larger than one read from the device", () => {
  it("is read in several pieces", async () => {
    const backend = memoryBackend(), rows = 600, cols = 16384;
    const q = new TiledMatrix(backend, { label: "q", rows, cols });
    const mask = backend.createBuffer("mask", rows * cols / 8);
    const solution = { q, mask, zeros: 0, loss: null, weightForm: null, destroy: () => {} };
    const sizes: number[] = [];
    for await (const chunk of encodeAnswer(backend, solution, "F32", REPORT).chunks()) {
      sizes.push(chunk.length);
    }
    assert.equal(Math.max(...sizes), 2 ** 20);
    assert.equal(sizes.slice(1).reduce((a, b) => a + b), rows * cols * 4 + rows * cols / 8);
  });
});
