/** The reader of PyTorch weight files refuses every hostile file quickly, with the right error, and without large reads. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/files/model_error.ts";
import { readTorchShard } from "../../src/checkpoint/torch/torch_shard.ts";
import { memoryFile } from "../support/memory_file.ts";
import { HOSTILE_ARCHIVES } from "./torch/hostile_archives.ts";
import { HOSTILE_CODE } from "./torch/hostile_code.ts";
import { INVALID_TENSORS } from "./torch/invalid_tensors.ts";
import { PICKLE_MACHINE } from "./torch/pickle_machine.ts";

/** The slowest file takes about half a second. The limit is much longer, because a shared machine may pause. */
const MAX_MILLISECONDS = 15_000;
const MAX_READ_BYTES = 32 << 20;

const ATTACKS = [...HOSTILE_CODE, ...PICKLE_MACHINE, ...INVALID_TENSORS, ...HOSTILE_ARCHIVES];

describe("the reader of PyTorch files, given a hostile file,", () => {
  for (const { name, message, file } of ATTACKS) {
    it(`refuses ${name}`, async () => {
      const source = memoryFile(file());
      const started = performance.now();
      await assert.rejects(readTorchShard("pytorch_model.bin", source), (error: unknown) => {
        assert.ok(error instanceof ModelError, String(error));
        assert.match(error.message, message);
        assert.ok(error.message.length <= 500, "the error message must stay short even if the file is large");
        return true;
      });
      assert.ok(performance.now() - started < MAX_MILLISECONDS);
      assert.ok(
        source.longestRead <= MAX_READ_BYTES,
        `the reader requested ${source.longestRead} bytes at once`,
      );
    });
  }
});
