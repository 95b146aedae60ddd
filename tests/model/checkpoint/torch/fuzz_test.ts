/**
 * Reads torch files that are damaged at random, from fixed seeds. Every file must either be read or rejected
 * with a ModelError, and the reader may read only a bounded number of bytes at once. Half of the rounds
 * damage only the pickle, which lists the tensors, because most bytes of a file are padding.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ModelError } from "../../../../src/base/files/file_error.ts";
import { readTorchShard } from "../../../../src/model/checkpoint/torch/torch_shard.ts";
import { memoryFile } from "../../../support/memory_file.ts";
import { uniform } from "../../../../scripts/fixtures/random.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/torch", import.meta.url));
const ROUNDS = 1500;
/** The pickle of every fixture lies between byte 64 and this byte. */
const PICKLE_END = 1500;

async function readOrReject(bytes: Uint8Array): Promise<"read" | "rejected"> {
  const file = memoryFile(bytes);
  try {
    const { header, position } = await readTorchShard("pytorch_model.bin", file);
    for (const info of header.tensors) {
      const { name, begin, end } = info;
      const at = position(info);
      assert.ok(at >= 0 && at + end - begin <= bytes.byteLength, `${name} lies outside the file`);
    }
    return "read";
  } catch (error) {
    assert.ok(error instanceof ModelError, `not a ModelError: ${error}`);
    return "rejected";
  } finally {
    assert.ok(file.longestRead <= bytes.byteLength + 65558);
  }
}

describe("damaged torch files", () => {
  for (const name of ["kinds.bin", "protocol4.bin", "training.bin"]) {
    it(`derived from ${name} are read or rejected with a ModelError`, async () => {
      const undamaged = await Deno.readFile(`${FIXTURES}/${name}`);
      const next = uniform(name.length);
      const counts = { read: 0, rejected: 0 };
      for (let round = 0; round < ROUNDS; round++) {
        const file = undamaged.slice(
          0,
          round % 50 === 0 ? Math.floor(next() * undamaged.length) : undamaged.length,
        );
        const limit = round % 2 === 0 ? file.length : Math.min(PICKLE_END, file.length);
        for (let flips = 1 + Math.floor(next() * 3); flips > 0; flips--) {
          const at = Math.floor(next() * limit);
          file[at] = next() < 0.5 ? file[at] ^ (1 << Math.floor(next() * 8)) : Math.floor(next() * 256);
        }
        counts[await readOrReject(file)]++;
      }
      assert.ok(
        counts.rejected > ROUNDS / 10 && (counts.read > ROUNDS / 10 || name === "training.bin"),
        JSON.stringify(counts),
      );
    });
  }
});
