/** The reader of PyTorch weight files refuses every hostile file quickly, with the right error, and without large reads. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/base/files/file_error.ts";
import { readTorchShard } from "../../src/model/checkpoint/torch/torch_shard.ts";
import { memoryFile } from "../support/memory_file.ts";
import { withinBounds } from "./bounds.ts";
import { ARCHIVE_ATTACKS } from "./torch/archive_cases.ts";
import { OTHER_ARCHIVES } from "./torch/other_archives.ts";
import { PICKLE_ATTACKS } from "./torch/pickle_cases.ts";

const MAX_READ_BYTES = 32 << 20;

const ATTACKS = [...PICKLE_ATTACKS, ...ARCHIVE_ATTACKS, ...OTHER_ARCHIVES];

describe("the reader of PyTorch files, given a hostile file,", () => {
  for (const { name, message, file } of ATTACKS) {
    it(`refuses ${name}`, async () => {
      const bytes = file();
      await withinBounds(async () => {
        const source = memoryFile(bytes);
        await assert.rejects(readTorchShard("pytorch_model.bin", source), (error: unknown) => {
          assert.ok(error instanceof ModelError, String(error));
          assert.match(error.message, message);
          assert.ok(
            error.message.length <= 500,
            "the error message must stay short even if the file is large",
          );
          return true;
        });
        assert.ok(
          source.longestRead <= MAX_READ_BYTES,
          `the reader requested ${source.longestRead} bytes at once`,
        );
      });
    });
  }
});
