/** A connection that delivers the body of a request, without a client that holds the body in memory. */

import { type FloatDtype, floatsToBytes } from "../../../src/tensor/dtype.ts";
import { normals } from "../../../scripts/fixtures/random.ts";
import type { CopyCounter } from "./copy_counter.ts";

/** The weights repeat after this many bytes of 16-bit weights. */
const PERIOD_BYTES = 2 ** 18;

/**
 * Yields the body of a layer after its `header`: the identity as packed statistics, (cols) rows, and normal
 * random weights, (rows, cols) in `dtype`.
 */
export function* layerPieces(
  header: Uint8Array<ArrayBuffer>,
  rows: number,
  cols: number,
  dtype: FloatDtype,
): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
  yield header;
  const row = new Float32Array(cols);
  row[0] = 1;
  for (let i = 0; i < cols; i++) yield new Uint8Array(row.buffer, 0, 4 * (cols - i));
  const weights = floatsToBytes(normals(PERIOD_BYTES / 2, 1), dtype);
  for (let left = rows * cols * (dtype === "F32" ? 4 : 2); left > 0; left -= weights.byteLength) {
    yield weights.subarray(0, left);
  }
}

/**
 * Returns a stream of `pieces` that fills the memory of its reader, as a socket does. In a real host the operating
 * system or the runtime makes these copies, so they are not counted.
 */
export function connection(
  counter: CopyCounter,
  pieces: Iterator<Uint8Array<ArrayBuffer>, void>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let piece = new Uint8Array(0);
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: 2 ** 20,
    pull(controller) {
      const { byobRequest } = controller, target = byobRequest!.view as Uint8Array;
      let filled = 0;
      counter.uncounted(() => {
        while (filled < target.byteLength) {
          if (piece.byteLength === 0) {
            const next = pieces.next();
            if (next.done) break;
            piece = next.value;
          }
          const part = piece.subarray(0, target.byteLength - filled);
          target.set(part, filled);
          filled += part.byteLength;
          piece = piece.subarray(part.byteLength);
        }
      });
      if (filled === 0) controller.close();
      byobRequest!.respond(filled);
    },
  });
}
