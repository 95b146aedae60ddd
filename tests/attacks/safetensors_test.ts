/** The safetensors reader refuses every hostile file quickly and with the right error, in memory and as a stream. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, openSafetensors } from "../../src/safetensors/decode.ts";
import { SafetensorsError } from "../../src/safetensors/error.ts";
import { SAFETENSORS_ATTACKS } from "./safetensors_files.ts";

/** The slowest file takes about 10 ms. The limit is much longer, because a shared machine may pause. */
const MAX_MILLISECONDS = 2000;

async function readAsStream(file: Uint8Array): Promise<void> {
  const { chunks } = await openSafetensors(ReadableStream.from([file]));
  for await (const _ of chunks());
}

describe("the safetensors reader, given a hostile file,", () => {
  for (const { name, kind, message, file } of SAFETENSORS_ATTACKS) {
    it(`refuses ${name}`, async () => {
      const bytes = file();
      const started = performance.now();
      const isExpected = (error: unknown) => {
        assert.ok(error instanceof SafetensorsError, String(error));
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, message);
        assert.ok(error.message.length <= 500, "the error message must stay short even if the file is large");
        return true;
      };
      assert.throws(() => decode(bytes), isExpected);
      await assert.rejects(readAsStream(bytes), isExpected);
      assert.ok(performance.now() - started < MAX_MILLISECONDS);
    });
  }
});
