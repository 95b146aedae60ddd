/**
 * Limits transfers. `TransferRate` decides whether a client sends a body or takes an answer too slowly, and
 * `UnsentAnswers` limits the memory of small answers that are sent in one piece. For the rate, only the time in which
 * the host waits for the client counts, because a transfer may also stand still while the device is slow.
 */

export interface TransferRateOptions {
  readonly leastBytesPerSecond: number;
  /** The time over which the rate is measured. A connection may stand still for this long. */
  readonly windowMilliseconds: number;
  readonly clock: () => number;
}

export class TransferRate {
  /** The bytes that a client must transfer in each window. */
  readonly #windowBytes: number;
  #bytes = 0;
  #waitedMilliseconds = 0;
  #waitsSince: number | undefined;

  constructor(private readonly options: TransferRateOptions) {
    this.#windowBytes = (options.leastBytesPerSecond * options.windowMilliseconds) / 1000;
  }

  startWaiting(): void {
    this.#waitsSince = this.options.clock();
  }

  /** Records that the client has transferred `bytes`, which ends the wait. */
  addBytes(bytes: number): void {
    this.#waitedMilliseconds = this.#waited();
    this.#waitsSince = undefined;
    this.#bytes += bytes;
    if (this.#bytes < this.#windowBytes) return;
    this.#bytes = 0;
    this.#waitedMilliseconds = 0;
  }

  /** Whether the host waits for a client that has transferred too few bytes in the current window. */
  isTooSlow(): boolean {
    return this.#waitsSince !== undefined && this.#windowBytes > 0 &&
      this.#waited() >= this.options.windowMilliseconds;
  }

  #waited(): number {
    const now = this.options.clock();
    return this.#waitedMilliseconds + now - (this.#waitsSince ?? now);
  }
}

/** The number of checks in one window. A transfer that becomes too slow is noticed soon after the window. */
const CHECKS_PER_WINDOW = 16;

/** Calls `check` several times in every window. A timer per chunk would take a tenth of the time of a transfer. */
export function watchTransfer(windowMilliseconds: number, check: () => void): Disposable {
  const timer = setInterval(check, windowMilliseconds / CHECKS_PER_WINDOW);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The size of the largest answer that is sent in one piece. A stream would send it in a few milliseconds. */
export const MAX_WHOLE_BYTES = 4 * 2 ** 20;

/** The most bytes of whole answers in memory, over all connections. Further answers are streamed from the device. */
const MAX_UNSENT_BYTES = 64 * 2 ** 20;

/** Counts the bytes of the whole answers that clients have not taken yet. */
export class UnsentAnswers {
  #bytes = 0;

  /** @param maxBytes the most bytes in memory at once */
  constructor(private readonly maxBytes = MAX_UNSENT_BYTES) {}

  /**
   * Counts an answer of `bytes` bytes until `sent` settles, and returns true. If the answer must be streamed, it is not
   * counted, and the result is false.
   * @param sent settles when the client has taken the answer, or the connection is closed. Undefined if the request
   *   comes from this process. Such an answer is not counted, because the caller then owns its bytes
   */
  tryAdd(bytes: number, sent: Promise<unknown> | undefined): boolean {
    if (bytes > MAX_WHOLE_BYTES || this.#bytes + bytes > this.maxBytes) return false;
    if (!sent) return true;
    this.#bytes += bytes;
    const remove = () => void (this.#bytes -= bytes);
    sent.then(remove, remove);
    return true;
  }
}
