/**
 * A queue for something there is little of: the device, or the memory that a layer takes while it is there. Tasks start in order of
 * arrival, a few at a time; one that finds the queue full is refused at once, and one that is aborted while it waits leaves.
 */

/** The queue is full. */
export class BusyError extends Error {
  override name = "BusyError";

  /** @param retryAfterSeconds when a place is likely to be free, a whole number from 1 */
  constructor(waiting: number, readonly retryAfterSeconds: number) {
    super(`${waiting} requests are waiting already`);
  }
}

/** How a lane is laid out. */
export interface BoundedQueueOptions {
  /** Tasks that run at once. */
  readonly width: number;
  /** Tasks that may wait. */
  readonly depth: number;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
}

/** Weight of the newest task in the running mean of their durations. */
const NEWEST_WEIGHT = 0.2;
/** Longest time a refused client is told to wait: the mean may be of layers far larger than the next. */
const MAX_RETRY_SECONDS = 120;

/** A bounded queue of asynchronous tasks. */
export class BoundedQueue {
  readonly #options: BoundedQueueOptions;
  readonly #waiting = new Set<() => void>();
  #running = 0;
  #meanMilliseconds = 0;

  constructor(options: BoundedQueueOptions) {
    this.#options = options;
  }

  /** Tasks waiting now. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Tasks running now. */
  get running(): number {
    return this.#running;
  }

  /**
   * Waits for a place. The place is held until the returned function is called; calling it twice is harmless.
   * @throws {BusyError} the queue is full; the signal's reason, when it aborts before there is a place
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const { width, depth, clock } = this.#options;
    if (this.#running < width) this.#running++;
    else if (this.#waiting.size >= depth) throw new BusyError(this.#waiting.size, this.retryAfterSeconds);
    // The place is handed over by the one who leaves, so that `running` does not dip below and let a newcomer in first.
    else await this.#wait(signal);
    const start = clock();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#meanMilliseconds += (clock() - start - this.#meanMilliseconds) * NEWEST_WEIGHT;
      this.#leave();
    };
  }

  /** Runs `task` in a place of its own. Errors as `enter` and those of the task. */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const leave = await this.enter(signal);
    try {
      return await task();
    } finally {
      leave();
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => {
      this.#waiting.delete(resolve);
      reject(signal!.reason);
    };
    this.#waiting.add(resolve);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next) {
      this.#waiting.delete(next);
      next();
      return;
    }
    this.#running--;
  }

  /** When a newcomer would likely get a place, by the tasks so far: a whole number of seconds from 1. */
  get retryAfterSeconds(): number {
    const { width } = this.#options;
    const seconds = Math.ceil((this.#meanMilliseconds * (this.#waiting.size + 1)) / width / 1000);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, seconds));
  }
}
