/**
 * Streams the answer to a layer at the client's pace. However the stream ends, the layer's memory is freed exactly
 * once. An answer occupies a place on the device until it ends. The answer to a slow client is therefore aborted, soon
 * if another request waits for the place, and much later otherwise.
 */

import type { HostLimits } from "../src/host/host_services.ts";
import { TransferRate, watchTransfer } from "../src/host/transfers.ts";
import { longPause, TransferPauses } from "./body.ts";

export interface AnswerSource {
  readonly chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
  /** Whether another request waits for the place of this one. */
  isPlaceWanted(): boolean;
  /** Frees the memory that the chunks are read from. Called exactly once. */
  release(): void;
  /** Called if reading `chunks` fails, for example because the device was lost. */
  onError(error: unknown): void;
}

export type AnswerLimits = Pick<
  HostLimits,
  "leastBytesPerSecond" | "answerWindowMilliseconds" | "answerPatienceMilliseconds"
>;

/**
 * The largest number of bytes that are given to the connection at once. Bytes count as taken when the connection asks
 * for more, so a large piece would make the measured rate coarse. It would also slow down fast transfers.
 */
const PIECE_BYTES = 64 * 2 ** 10;

/**
 * Returns a stream of the answer. It fails if the client takes fewer than `leastBytesPerSecond` for the time
 * `answerPatienceMilliseconds`. If another request waits for the place, the much shorter `answerWindowMilliseconds` is
 * enough.
 * @param clock returns milliseconds, from any origin
 */
export function answerStream(
  source: AnswerSource,
  limits: AnswerLimits,
  clock: () => number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { leastBytesPerSecond, answerWindowMilliseconds, answerPatienceMilliseconds } = limits;
  const rateOver = (windowMilliseconds: number) =>
    new TransferRate({ leastBytesPerSecond, windowMilliseconds, clock });
  const wantedRate = rateOver(answerWindowMilliseconds), rate = rateOver(answerPatienceMilliseconds);
  const pieces = splitChunks(source.chunks), pauses = new TransferPauses(longPause);
  let watch: Disposable | undefined, pieceBytes = 0, hasEnded = false;
  const finish = async () => {
    watch?.[Symbol.dispose]();
    if (hasEnded) return;
    hasEnded = true;
    await pieces.return();
    source.release();
  };
  return new ReadableStream({
    start(controller) {
      watch = watchTransfer(Math.min(answerWindowMilliseconds, answerPatienceMilliseconds), () => {
        if (!rate.isTooSlow() && !(wantedRate.isTooSlow() && source.isPlaceWanted())) return;
        controller.error(new Error(`the client took fewer than ${leastBytesPerSecond} bytes per second`));
        void finish();
      });
    },
    async pull(controller) {
      wantedRate.addBytes(pieceBytes);
      rate.addBytes(pieceBytes);
      try {
        const { done, value } = await pieces.next();
        if (done) {
          await finish();
          controller.close();
        } else if (!hasEnded) {
          controller.enqueue(value);
          pieceBytes = value.byteLength;
          await pauses.afterBytes(pieceBytes);
          wantedRate.startWaiting();
          rate.startWaiting();
        }
      } catch (error) {
        await finish();
        source.onError(error);
        throw error;
      }
    },
    cancel: finish,
  });
}

/** Yields the bytes of `chunks` in pieces of at most `PIECE_BYTES`. */
async function* splitChunks(
  chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.byteLength; start += PIECE_BYTES) {
      yield chunk.subarray(start, start + PIECE_BYTES);
    }
  }
}
