/** An answer on its way out: pulled as the client takes it, and whatever way it ends, what it was made from is freed once. */

import { longPause, Turns } from "./yield_to_event_loop.ts";

/** What happens when an answer ends. */
export interface AnswerEnd {
  /** Frees what the chunks are read from. Called once. */
  release(): void;
  /** Told what broke the answer off, so that a lost device is known. */
  failed(error: unknown): void;
}

/** Streams `chunks`. A client that takes nothing for `idleMilliseconds` is given up, since it keeps a layer on the device. */
export function answerStream(
  chunks: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>,
  idleMilliseconds: number,
  end: AnswerEnd,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const turns = new Turns(longPause);
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
      controller.error(new Error(`the client took nothing for ${idleMilliseconds / 1000} s`));
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
          await turns.after(value.byteLength);
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
