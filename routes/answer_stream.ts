/** Streams the answer to a layer at the client's pace. However the stream ends, the layer's memory is freed exactly once. */

import { longPause, TransferPauses } from "./yield_to_event_loop.ts";

/** Functions that `answerStream` calls when the answer ends. */
export interface AnswerCallbacks {
  /** Frees the memory that the chunks are read from. Called exactly once. */
  release(): void;
  /** Called if reading `chunks` fails, for example because the device was lost. */
  onError(error: unknown): void;
}

/**
 * Returns a stream of `chunks`. If the client reads nothing for `idleMilliseconds`, the stream fails, because the layer would otherwise stay
 * in device memory.
 */
export function answerStream(
  chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>,
  idleMilliseconds: number,
  callbacks: AnswerCallbacks,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pauses = new TransferPauses(longPause);
  let hasEnded = false;
  let idleTimer: ReturnType<typeof setTimeout> | undefined;
  const finish = async () => {
    clearTimeout(idleTimer);
    if (hasEnded) return;
    hasEnded = true;
    await chunks.return();
    callbacks.release();
  };
  const armIdleTimer = (controller: ReadableStreamDefaultController) => {
    idleTimer = setTimeout(() => {
      controller.error(new Error(`the client read nothing for ${idleMilliseconds / 1000} s`));
      void finish();
    }, idleMilliseconds);
  };
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(idleTimer);
      try {
        const { done, value } = await chunks.next();
        if (done) {
          await finish();
          controller.close();
        } else if (!hasEnded) {
          controller.enqueue(value);
          armIdleTimer(controller);
          await pauses.afterBytes(value.byteLength);
        }
      } catch (error) {
        await finish();
        callbacks.onError(error);
        throw error;
      }
    },
    cancel: finish,
  });
}
