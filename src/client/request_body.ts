/** Makes the body of a request from its parts. */

/**
 * The size of the pieces of a body, in bytes. Deno copies a whole piece before it sends the first byte of the piece. With pieces of this
 * size, the server receives one piece while Deno copies the next one, and all pieces are copied through the same memory.
 */
const PIECE_BYTES = 2 ** 20;

/** Returns a Blob of the bytes of `parts`, in order. `fetch` sends a Blob with a Content-Length, and a stream without one. */
export function bodyBlob(parts: readonly Uint8Array<ArrayBuffer>[]): Blob {
  return new Blob(parts.flatMap(splitIntoPieces));
}

/**
 * Returns a stream of `parts`, in order, for a request that stays in this process. The parts are not copied. A Blob would copy them, and
 * would keep the copies until JavaScript's garbage collection, which does not know their size.
 */
export function bodyStream(
  parts: readonly Uint8Array<ArrayBuffer>[],
): ReadableStream<Uint8Array<ArrayBuffer>> {
  // `ReadableStream.from` is missing in some of the runtimes in which the SDK runs.
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  });
}

function splitIntoPieces(part: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let start = 0; start < part.byteLength; start += PIECE_BYTES) {
    pieces.push(part.subarray(start, start + PIECE_BYTES));
  }
  return pieces;
}
