/** Tests that every hostile safetensors file is refused quickly with its error, whether it is read at once or as a stream. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, openSafetensors } from "../../src/safetensors/decode.ts";
import { SafetensorsError } from "../../src/safetensors/error.ts";
import { SAFETENSORS_ATTACKS } from "./safetensors_files.ts";

const MAX_MILLISECONDS = 2000; // A file takes about 10 ms. The margin is for loaded machines.

async function readAsStream(file: Uint8Array): Promise<void> {
  const { chunks } = await openSafetensors(ReadableStream.from([file]));
  for await (const _ of chunks());
}

describe("hostile safetensors files", () => {
  for (const { name, kind, message, file } of SAFETENSORS_ATTACKS) {
    it(`refuses ${name}`, async () => {
      const bytes = file();
      const started = performance.now();
      const isExpected = (error: unknown) => {
        assert.ok(error instanceof SafetensorsError, String(error));
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, message);
        assert.ok(error.message.length <= 400, "the message must not grow with the file");
        return true;
      };
      assert.throws(() => decode(bytes), isExpected);
      await assert.rejects(readAsStream(bytes), isExpected);
      assert.ok(performance.now() - started < MAX_MILLISECONDS);
    });
  }
});
