/**
 * Seeded damage to files that torch.save wrote: each is read or refused with a ModelError, in bounded time and memory.
 * Flips hit the whole file, and the pickle alone, since most bytes of a file are padding.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ModelError } from "../../../src/files/model_error.ts";
import { torchShard } from "../../../src/checkpoint/torch/torch_shard.ts";
import { memoryFile } from "../../support/memory_file.ts";
import { uniform } from "../../support/random.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/torch", import.meta.url));
const ROUNDS = 1500;
/** The pickle of each fixture begins at byte 64 and ends before this. */
const PICKLE_END = 1500;

async function outcome(bytes: Uint8Array): Promise<"read" | "refused"> {
  const file = memoryFile(bytes);
  try {
    const { header, position } = await torchShard("pytorch_model.bin", file);
    for (const info of header.tensors) {
      const { name, begin, end } = info;
      const at = position(info);
      assert.ok(at >= 0 && at + end - begin <= bytes.byteLength, `${name} lies outside the file`);
    }
    return "read";
  } catch (error) {
    assert.ok(error instanceof ModelError, `not a ModelError: ${error}`);
    return "refused";
  } finally {
    assert.ok(file.longestRead <= bytes.byteLength + 65558);
  }
}

describe("damaged torch files", () => {
  for (const name of ["kinds.bin", "protocol4.bin", "training.bin"]) {
    it(`such as ${name} are read or refused`, async () => {
      const sound = await Deno.readFile(`${FIXTURES}/${name}`);
      const next = uniform(name.length);
      const counts = { read: 0, refused: 0 };
      for (let round = 0; round < ROUNDS; round++) {
        const file = sound.slice(0, round % 50 === 0 ? Math.floor(next() * sound.length) : sound.length);
        const limit = round % 2 === 0 ? file.length : Math.min(PICKLE_END, file.length);
        for (let flips = 1 + Math.floor(next() * 3); flips > 0; flips--) {
          const at = Math.floor(next() * limit);
          file[at] = next() < 0.5 ? file[at] ^ (1 << Math.floor(next() * 8)) : Math.floor(next() * 256);
        }
        counts[await outcome(file)]++;
      }
      assert.ok(
        counts.refused > ROUNDS / 10 && (counts.read > ROUNDS / 10 || name === "training.bin"),
        JSON.stringify(counts),
      );
    });
  }
});
