/**
 * Keeps a long transfer from holding the thread: Deno's runtime looks for new connections and due timers only when nothing is ready to run,
 * or every few dozen turns, and the pieces of a body on a fast connection are always ready. Two ways of letting it idle for a
 * moment, since what is enough while bytes come in is not while they go out.
 */

import { setImmediate } from "node:timers";

/** Bytes moved between turns: they take ten to thirty milliseconds. */
const BYTES_PER_TURN = 16 * 2 ** 20;

/** A timer of 0: two to three milliseconds. `setImmediate` alone does not let the runtime idle. */
export function longPause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * Under a millisecond: a digest of nothing, computed on another thread, and then a later turn for what was found meanwhile. Twice,
 * because one may fall between two looks at the timers. In an answer's way new connections still wait several times as long as with
 * `longPause`.
 */
export async function shortPause(): Promise<void> {
  for (let look = 0; look < 2; look++) {
    await crypto.subtle.digest("SHA-256", new Uint8Array(0));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Counts the bytes of one transfer, and lets others have their turn. */
export class Turns {
  readonly #pause: () => Promise<void>;
  #bytes = 0;

  constructor(pause: () => Promise<void>) {
    this.#pause = pause;
  }

  /** Takes note of `bytes` more, and waits where a turn is due. */
  async after(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_PER_TURN) return;
    this.#bytes = 0;
    await this.#pause();
  }
}
