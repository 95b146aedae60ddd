/** Hashes a stream while another function reads it. */

import type { Hash } from "node:crypto";

/** Yields the chunks of `source` and adds them to `hash`. */
export async function* hashedStream<Chunk extends Uint8Array>(
  source: AsyncIterable<Chunk>,
  hash: Hash,
): AsyncGenerator<Chunk, void, undefined> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}
