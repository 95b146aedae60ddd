/** Streams an answer at the client's pace. However the stream ends, the layer's memory is freed exactly once. */

import { longPause, TransferPauses } from "./yield_to_event_loop.ts";

/** Callbacks for the end of an answer. */
export interface AnswerEnd {
  /** Frees the memory that the chunks are read from. Called exactly once. */
  release(): void;
  /** Called with the error that ended the answer early, so that a lost device is noticed. */
  failed(error: unknown): void;
}

/** Streams `chunks`. If the client reads nothing for `idleMilliseconds`, the stream fails, because the client would otherwise occupy a place on the device. */
export function answerStream(
  chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>,
  idleMilliseconds: number,
  end: AnswerEnd,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pauses = new TransferPauses(longPause);
  let ended = false;
  let stalled: ReturnType<typeof setTimeout> | undefined;
  const finish = async () => {
    clearTimeout(stalled);
    if (ended) return;
    ended = true;
    await chunks.return();
    end.release();
  };
  const watch = (controller: ReadableStreamDefaultController) => {
    stalled = setTimeout(() => {
      controller.error(new Error(`the client read nothing for ${idleMilliseconds / 1000} s`));
      void finish();
    }, idleMilliseconds);
  };
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(stalled);
      try {
        const { done, value } = await chunks.next();
        if (done) {
          await finish();
          controller.close();
        } else if (!ended) {
          controller.enqueue(value);
          watch(controller);
          await pauses.afterBytes(value.byteLength);
        }
      } catch (error) {
        await finish();
        end.failed(error);
        throw error;
      }
    },
    cancel: finish,
  });
}
