/**
 * Limits the small answers that are sent as one array. Such an answer gives up its place on the device before it is
 * sent, and the connection takes it without the pauses of a stream. Its bytes are in memory until the client has taken
 * them, so their sum has a limit.
 */

/** The largest answer that is sent as one array. It is an answer that a stream would send in a few milliseconds. */
export const MAX_WHOLE_BYTES = 4 * 2 ** 20;

/** The most bytes of such answers at once, over all connections. Further answers are streamed from the device. */
const MAX_UNSENT_BYTES = 64 * 2 ** 20;

/** Counts the bytes of the whole answers that clients have not taken yet. */
export class UnsentAnswers {
  readonly #maxBytes: number;
  #bytes = 0;

  /** @param maxBytes the most bytes at once */
  constructor(maxBytes = MAX_UNSENT_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Counts an answer of `bytes` until `sent` settles. Returns false, and does not count it, if the answer must be streamed.
   * @param sent settles when the client has taken the answer, or the connection is closed. It is undefined if the
   *   request comes from this process, which then owns the bytes
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
