/** Tests readResponseBody() with the kinds of bodies that runtimes have: streams of bytes, streams of chunks, and none. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { MalformedAnswerError } from "../../src/client/errors.ts";
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
      const bytes = await readResponseBody(response(bodyOf([[1, 2], [3], [4, 5, 6]]), 6), 6);
      assert.deepEqual(bytes, Uint8Array.of(1, 2, 3, 4, 5, 6));
      assert.equal(bytes.buffer.byteLength, 6);
    });

    it("returns an empty array for an empty body", async () => {
      assert.equal((await readResponseBody(response(bodyOf([]), 0), 0)).byteLength, 0);
    });

    it("rejects a body that is shorter or longer than its Content-Length", async () => {
      const lengths: [number, RegExp][] = [[4, /ended after 3 of 4 bytes/], [2, /longer than .* 2 bytes/]];
      for (const [length, message] of lengths) {
        await assert.rejects(readResponseBody(response(bodyOf([[1, 2, 3]]), length), 9), message);
      }
      await assert.rejects(readResponseBody(response(bodyOf([[1]]), 0), 9), /longer than .* 0 bytes/);
    });

    it("rejects a body that is longer than the caller accepts, with and without a Content-Length", async () => {
      for (const answer of [response(bodyOf([[1, 2], [3]]), 3), new Response(bodyOf([[1, 2], [3], [4]]))]) {
        await assert.rejects(readResponseBody(answer, 2), MalformedAnswerError);
      }
      assert.equal((await readResponseBody(new Response(bodyOf([[1, 2], [3]])), 3)).length, 3);
    });
  });
}

it("readResponseBody() stops reading an endless body at the limit", async () => {
  let sent = 0;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      sent += 1000;
      controller.enqueue(new Uint8Array(1000));
    },
  });
  await assert.rejects(readResponseBody(new Response(body), 100_000), MalformedAnswerError);
  assert.ok(sent < 110_000, `${sent} bytes were read`);
});

it("readResponseBody() returns an empty array for a response without a body", async () => {
  assert.equal((await readResponseBody(response(null, 0), 0)).byteLength, 0);
});
