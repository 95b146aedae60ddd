/**
 * Keeps a long transfer from holding the thread: Deno's runtime looks for new connections and due timers only when nothing is ready to run,
 * or every few dozen turns, and the pieces of a body on a fast connection are always ready. A timer lets it idle for a moment,
 * which costs what two megabytes do; `setImmediate` does not.
 */

/** Bytes moved between turns: they take ten to thirty milliseconds. */
const BYTES_PER_TURN = 16 * 2 ** 20;

/** Counts the bytes of one transfer, and lets others have their turn. */
export class Turns {
  #bytes = 0;

  /** Takes note of `bytes` more, and waits where a turn is due. */
  async after(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_PER_TURN) return;
    this.#bytes = 0;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
