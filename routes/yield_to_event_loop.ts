/**
 * Keeps a long transfer from blocking the event loop. Deno looks for new connections and due timers only when nothing is ready to run, or
 * after every few dozen iterations of the loop. On a fast connection the next piece of a body is always ready, so a transfer has to pause
 * now and then. There are two kinds of pause: a short one while a body is received, and a longer one while an answer is sent.
 */

import { setImmediate } from "node:timers";

/** The number of bytes between two pauses. Their transfer takes ten to thirty milliseconds. */
const BYTES_BETWEEN_PAUSES = 16 * 2 ** 20;

/** Pauses for two to three milliseconds, with a timer of 0 ms. `setImmediate` alone does not let the event loop look for connections. */
export function longPause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * Pauses for less than a millisecond. It waits for the digest of an empty array, which is computed on another thread, and then for the next
 * iteration of the event loop. It does both twice, because a single iteration may fall between two checks of the timers. This pause is too
 * short while an answer is sent: new connections then wait several times as long as with `longPause`.
 */
export async function shortPause(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await crypto.subtle.digest("SHA-256", new Uint8Array(0));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Counts the bytes of one transfer, and pauses after every few megabytes. */
export class TransferPauses {
  readonly #pause: () => Promise<void>;
  #bytes = 0;

  constructor(pause: () => Promise<void>) {
    this.#pause = pause;
  }

  /** Counts `bytes`, and pauses if enough bytes were transferred since the last pause. */
  async afterBytes(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_BETWEEN_PAUSES) return;
    this.#bytes = 0;
    await this.#pause();
  }
}
