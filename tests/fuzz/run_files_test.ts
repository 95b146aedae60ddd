/** Fuzzes the files that Pare itself writes: the journal of a run, and packed checkpoints. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { packCheckpoint } from "../../src/checkpoint/packed/pack_checkpoint.ts";
import { unpackCheckpoint } from "../../src/checkpoint/packed/unpack_checkpoint.ts";
import { readBytes } from "../../src/files/whole_file.ts";
import { ModelError } from "../../src/files/model_error.ts";
import { Journal } from "../../src/prune/run/journal.ts";
import { encode } from "../../src/safetensors/encode.ts";
import { sparseWeight, twoFourWeight } from "../checkpoint/packed/packed_checkpoints.ts";
import { damagedBytes } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { REPORT } from "./documents.ts";
import { FOLDER, memoryFolder } from "./memory_folder.ts";
import { fuzz, unlessRefused } from "./property.ts";

const isModelError = (error: unknown) => error instanceof ModelError;

/** The entries of a short run. */
const ENTRIES = [
  { type: "start", time: "2026-01-01T00:00:00Z", seconds: 1 },
  { type: "allocation", name: "owl", sparsities: { a: 0.5 }, notes: [], seconds: 2 },
  { type: "layer", name: "a", block: 0, seconds: { calibration: 1, layers: 2 }, report: REPORT },
  { type: "complete" },
];

/** Packs a small weight in memory. @returns the files of the packed checkpoint */
async function packedFiles(format: "bitmask" | "sparse-24"): Promise<Record<string, Uint8Array>> {
  const weight = format === "bitmask" ? sparseWeight("F16", [5, 12], 0.7) : twoFourWeight("F16", [5, 12]);
  const fs = memoryFolder({ "config.json": {}, "model.safetensors": encode({ "x.weight": weight }, { format: "pt" }) });
  await packCheckpoint(await openCheckpoint(FOLDER, fs), "/packed", fs, { format });
  const names = await fs.list("/packed");
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readBytes(fs, `/packed/${name}`)])));
}

describe("fuzzing the journal of a run", () => {
  const line = damagedJson(ENTRIES, 2).map((entry) => JSON.stringify(entry));
  const text = fc.array(fc.oneof(fc.constantFrom(...ENTRIES.map((entry) => JSON.stringify(entry))), line), { maxLength: 4 })
    .map((lines) => new TextEncoder().encode(lines.map((line) => `${line}\n`).join("")));

  fuzz("journal", fc.oneof(text, damagedBytes(text)), async (bytes) => {
    const path = `${FOLDER}/journal.jsonl`, fs = memoryFolder({ "journal.jsonl": bytes });
    const journal = await unlessRefused(() => Journal.open(path, fs), isModelError);
    if (!journal) return "refused";
    const before = structuredClone(journal.entries);
    await journal.append({ type: "complete" });
    await journal.close();
    const reopened = await Journal.open(path, fs);
    assert.deepEqual(reopened.entries, [...before, { type: "complete" }], "an appended entry must be read back");
    return "accepted";
  });
});

const packed = [["bitmask", await packedFiles("bitmask")], ["sparse-24", await packedFiles("sparse-24")]] as const;

describe("fuzzing packed checkpoints", () => {
  for (const [format, files] of packed) {
    const config = damagedJson([JSON.parse(new TextDecoder().decode(files["config.json"]))], 1);
    const weights = damagedBytes(fc.constant(files["model.safetensors"]), 2);
    fuzz(`checkpoint packed as ${format}`, fc.tuple(weights, fc.option(config, { freq: 3 })), async ([weights, config]) => {
      const fs = memoryFolder({ ...files, "model.safetensors": weights, ...(config ? { "config.json": config } : {}) });
      const unpacked = await unlessRefused(async () => {
        await unpackCheckpoint(await openCheckpoint(FOLDER, fs), "/unpacked", fs);
        return await openCheckpoint("/unpacked", fs);
      }, isModelError);
      if (!unpacked) {
        assert.deepEqual(await fs.list("/unpacked"), [], "a refused checkpoint must leave no files");
        return "refused";
      }
      for (const name of unpacked.names()) {
        const { shape, data } = await unpacked.tensor(name);
        assert.ok(data.length >= shape.reduce((product, extent) => product * extent, 1), name);
      }
      return "accepted";
    });
  }
});
