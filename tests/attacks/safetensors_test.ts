/** The safetensors reader refuses every hostile file quickly and with the right error, in memory and as a stream. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, openSafetensors } from "../../src/tensor/safetensors/decode.ts";
import { SafetensorsError } from "../../src/tensor/safetensors/error.ts";
import { withinBounds } from "./bounds.ts";
import { SAFETENSORS_ATTACKS } from "./safetensors_files.ts";

async function readAsStream(file: Uint8Array): Promise<void> {
  const { chunks } = await openSafetensors(ReadableStream.from([file]));
  for await (const _ of chunks());
}

describe("the safetensors reader, given a hostile file,", () => {
  for (const { name, kind, message, file } of SAFETENSORS_ATTACKS) {
    it(`refuses ${name}`, async () => {
      const bytes = file();
      const isExpected = (error: unknown) => {
        assert.ok(error instanceof SafetensorsError, String(error));
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, message);
        assert.ok(error.message.length <= 500, "the error message must stay short even if the file is large");
        return true;
      };
      await withinBounds(() => assert.throws(() => decode(bytes), isExpected));
      await withinBounds(() => assert.rejects(readAsStream(bytes), isExpected));
    });
  }
});
