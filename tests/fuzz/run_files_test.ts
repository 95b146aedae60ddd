/** Fuzzes the files that Pare itself writes: the journal of a run, and quantised checkpoints. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { PACK_QUANTIZED_FORMAT } from "../../src/model/formats/pack_quantized.ts";
import { openDense } from "../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { readBytes } from "../../src/base/files/whole_file.ts";
import { ModelError } from "../../src/base/files/file_error.ts";
import { Journal, type JournalEntry } from "../../src/prune/run/journal.ts";
import { reportSchema } from "../../src/protocol/resources/layers.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../src/tensor/dtype.ts";
import { packNamed } from "../support/quantized_checkpoints.ts";
import { randomQuantized } from "../support/quantized_weights.ts";
import { damagedBytes } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { REPORT } from "./documents.ts";
import { FOLDER, memoryFolder } from "../support/memory_folder.ts";
import { fuzz, unlessRefused } from "./property.ts";

const isModelError = (error: unknown) => error instanceof ModelError;

/** The entries of a short run. */
const ENTRIES: readonly JournalEntry[] = [
  { type: "start", time: "2026-01-01T00:00:00Z", seconds: 1 },
  { type: "allocation", name: "owl", sparsities: { a: 0.5 }, notes: [], seconds: 2 },
  { type: "states", block: 0, checksum: 7 },
  {
    type: "layer",
    name: "a",
    block: 0,
    seconds: { calibration: 1, layers: 2 },
    report: reportSchema.parse(REPORT),
    digests: { a: "0".repeat(64) },
  },
  { type: "discard", layers: ["a"] },
  { type: "complete", files: { "model.safetensors": "0".repeat(64) } },
];

/** Writes a journal in memory. @returns its bytes */
async function journalBytes(): Promise<Uint8Array> {
  const path = `${FOLDER}/journal.jsonl`, fs = memoryFolder({});
  const journal = await Journal.open(path, fs);
  for (const entry of ENTRIES) await journal.append(entry);
  return await readBytes(fs, path);
}

const written = await journalBytes();

describe("fuzzing the journal of a run", () => {
  fuzz("journal", damagedBytes(fc.constant(written)), async (bytes) => {
    const path = `${FOLDER}/journal.jsonl`, fs = memoryFolder({ "journal.jsonl": bytes });
    const journal = await Journal.open(path, fs), intact = [...journal.entries];
    assert.deepEqual(
      intact,
      ENTRIES.slice(0, intact.length),
      "every line that is read must be one that was written",
    );
    await journal.append(ENTRIES[0]);
    await journal.close();
    const reopened = await Journal.open(path, fs);
    assert.deepEqual(reopened.entries, [...intact, ENTRIES[0]], "an appended line must be read back");
    assert.equal(reopened.damagedLine, undefined);
    return intact.length === ENTRIES.length ? "accepted" : "refused";
  });
});

/** The files of a checkpoint in the layout `pack-quantized`, with one weight of 4 bits and one of 8 bits. */
function quantizedFiles(): { config: Record<string, unknown>; weights: Uint8Array } {
  const grids: Record<string, GridOptions> = {
    "a.weight": { bits: 4, groupSize: 4, symmetric: false },
    "b.weight": { bits: 8, groupSize: 0, symmetric: true },
  };
  const tensors = Object.entries(grids).flatMap(([name, grid]) => [
    ...packNamed(name, { quantized: randomQuantized([3, 8], grid, 1), grid, dtype: "F16" }).tensors,
  ]);
  const layers = Object.entries(grids).map(([name, grid]) => (
    { ...grid, name, rows: 3, cols: 8, dtype: "F16" as const }
  ));
  const quantization_config = PACK_QUANTIZED_FORMAT.writer.describe(layers, []);
  return { config: { quantization_config }, weights: encode(new Map(tensors), { format: "pt" }) };
}

describe("fuzzing quantised checkpoints", () => {
  const { config, weights } = quantizedFiles();
  const files = fc.tuple(damagedBytes(fc.constant(weights), 2), damagedJson([config], 1));
  fuzz("checkpoint in the layout pack-quantized", files, async ([weights, config]) => {
    const fs = memoryFolder({ "config.json": config, "model.safetensors": weights });
    const opened = await unlessRefused(async () => {
      const checkpoint = await openCheckpoint(FOLDER, fs), dense = await openDense(checkpoint);
      if (dense === checkpoint) throw new ModelError("is not quantised");
      return dense;
    }, isModelError);
    if (!opened) return "refused";
    for (const name of ["a.weight", "b.weight"].filter((name) => opened.has(name))) {
      const { dtype, shape: [rows, cols] } = opened.info(name),
        byteLength = rows * cols * BYTES_PER_ELEMENT[dtype];
      const read = await unlessRefused(() => opened.read(name, 0, byteLength), isModelError);
      assert.ok(read === undefined || read.byteLength === byteLength);
    }
    return "accepted";
  });
});
