/** Tests the body of a request: as a Blob that is divided into pieces, and as a stream within a process. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { bodyBlob, bodyStream } from "../../src/client/transport.ts";

/** The size of a piece, in bytes. */
const PIECE_BYTES = 2 ** 20;

/** Returns `length` bytes that differ from piece to piece. */
const numbered = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 31) >>> 8);

it("bodyBlob() has the bytes of all parts in order, whether a part ends inside a piece or at its end", async () => {
  const parts = [0, 3, PIECE_BYTES, 2 * PIECE_BYTES + 5, 1].map(numbered);
  const blob = bodyBlob(parts);
  const expected = new Uint8Array(blob.size);
  let filled = 0;
  for (const part of parts) {
    expected.set(part, filled);
    filled += part.byteLength;
  }
  assert.equal(filled, 3 * PIECE_BYTES + 9);
  assert.ok(Buffer.from(await blob.bytes()).equals(expected));
});

it("bodyBlob() lets the first bytes be sent before the others are copied", async () => {
  const reader = bodyBlob([numbered(8), numbered(5 * PIECE_BYTES)]).stream().getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    assert.ok(next.value.byteLength <= PIECE_BYTES, `a chunk has ${next.value.byteLength} bytes`);
  }
});

it("bodyStream() yields the parts themselves, in order", async () => {
  const parts = [3, 1].map(numbered), chunks: Uint8Array[] = [];
  for await (const chunk of bodyStream(parts)) chunks.push(chunk);
  assert.equal(chunks.length, 2);
  for (const [i, chunk] of chunks.entries()) assert.equal(chunk, parts[i]);
});
