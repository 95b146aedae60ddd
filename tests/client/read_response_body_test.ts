/** Tests readResponseBody() with the kinds of bodies that runtimes have: streams of bytes, streams of chunks, and none. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readResponseBody } from "../../src/client/read_response_body.ts";

/** Ways to make a body that arrives in `chunks`. */
const KINDS: Record<string, (chunks: readonly number[][]) => ReadableStream<Uint8Array<ArrayBuffer>>> = {
  "a stream of bytes": (chunks) =>
    new ReadableStream({ type: "bytes", start: (controller) => fill(controller, chunks) }),
  "a stream of chunks": (chunks) => new ReadableStream({ start: (controller) => fill(controller, chunks) }),
};

function fill(
  controller: { enqueue(chunk: Uint8Array<ArrayBuffer>): void; close(): void },
  chunks: readonly number[][],
): void {
  for (const chunk of chunks) controller.enqueue(Uint8Array.from(chunk));
  controller.close();
}

const response = (body: ReadableStream<Uint8Array<ArrayBuffer>> | null, length: number) =>
  new Response(body, { headers: { "Content-Length": String(length) } });

for (const [kind, bodyOf] of Object.entries(KINDS)) {
  describe(`readResponseBody() of ${kind}`, () => {
    it("returns all chunks in an array of the declared length", async () => {
      const bytes = await readResponseBody(response(bodyOf([[1, 2], [3], [4, 5, 6]]), 6));
      assert.deepEqual(bytes, Uint8Array.of(1, 2, 3, 4, 5, 6));
      assert.equal(bytes.buffer.byteLength, 6);
    });

    it("returns an empty array for an empty body", async () => {
      assert.equal((await readResponseBody(response(bodyOf([]), 0))).byteLength, 0);
    });

    it("rejects a body that is shorter or longer than its Content-Length", async () => {
      const lengths: [number, RegExp][] = [[4, /ended after 3 of 4 bytes/], [2, /longer than .* 2 bytes/]];
      for (const [length, message] of lengths) {
        await assert.rejects(readResponseBody(response(bodyOf([[1, 2, 3]]), length)), message);
      }
      await assert.rejects(readResponseBody(response(bodyOf([[1]]), 0)), /longer than .* 0 bytes/);
    });
  });
}

it("readResponseBody() returns an empty array for a response without a body", async () => {
  assert.equal((await readResponseBody(response(null, 0))).byteLength, 0);
});
