/** Tests that every hostile torch file is refused quickly with its error, and never makes the reader read many bytes at once. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/files/model_error.ts";
import { readTorchShard } from "../../src/checkpoint/torch/torch_shard.ts";
import { memoryFile } from "../support/memory_file.ts";
import { TORCH_ATTACKS } from "./torch_files.ts";

const MAX_MILLISECONDS = 4000; // The largest file takes about 300 ms. The margin is for loaded machines.
const MAX_READ_BYTES = 32 << 20;

describe("hostile torch files", () => {
  for (const { name, message, file } of TORCH_ATTACKS) {
    it(`refuses ${name}`, async () => {
      const source = memoryFile(file());
      const started = performance.now();
      await assert.rejects(readTorchShard("pytorch_model.bin", source), (error: unknown) => {
        assert.ok(error instanceof ModelError, String(error));
        assert.match(error.message, message);
        assert.ok(error.message.length <= 500, "the message must not grow with the file");
        return true;
      });
      assert.ok(performance.now() - started < MAX_MILLISECONDS);
      assert.ok(source.longestRead <= MAX_READ_BYTES, `read ${source.longestRead} bytes at once`);
    });
  }
});
