/**
 * Limits the memory of small answers that are sent in one piece. The layer of such an answer gives up its place on the
 * device before the answer is sent, and the answer is sent without the pauses of a stream. Its bytes stay in memory
 * until the client has taken them, so the sum over all such answers has a limit.
 */

/** The size of the largest answer that is sent in one piece. A stream would send it in a few milliseconds. */
export const MAX_WHOLE_BYTES = 4 * 2 ** 20;

/** The most bytes of such answers in memory, over all connections. If an answer would exceed them, it is streamed from the device. */
const MAX_UNSENT_BYTES = 64 * 2 ** 20;

/** Counts the bytes of the whole answers that clients have not taken yet. */
export class UnsentAnswers {
  readonly #maxBytes: number;
  #bytes = 0;

  /** @param maxBytes the most bytes in memory at once */
  constructor(maxBytes = MAX_UNSENT_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Counts an answer of `bytes` bytes until `sent` settles, and returns true. If the answer must be streamed, it is not
   * counted, and the result is false.
   * @param sent settles when the client has taken the answer, or the connection is closed. It is undefined if the
   *   request comes from this process. Such an answer is not counted, because the caller then owns its bytes
   */
  tryAdd(bytes: number, sent: Promise<unknown> | undefined): boolean {
    if (bytes > MAX_WHOLE_BYTES || this.#bytes + bytes > this.#maxBytes) return false;
    if (!sent) return true;
    this.#bytes += bytes;
    const remove = () => void (this.#bytes -= bytes);
    sent.then(remove, remove);
    return true;
  }
}
