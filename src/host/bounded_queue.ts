/**
 * A bounded FIFO queue for a scarce resource: the device, or the memory of a layer on it. A few tasks run at once, in the order of their
 * arrival. A task is refused at once if the queue is full, and leaves the queue if it is aborted while it waits.
 */

/** The queue is full. */
export class BusyError extends Error {
  override name = "BusyError";

  /** @param retryAfterSeconds the expected time until a place is free, a whole number from 1 */
  constructor(waiting: number, readonly retryAfterSeconds: number) {
    super(`${waiting} requests are waiting already`);
  }
}

/** The capacity of a queue. */
export interface BoundedQueueOptions {
  /** The number of tasks that run at once. */
  readonly concurrency: number;
  /** The number of tasks that may wait. */
  readonly maxWaiting: number;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
}

/** The weight of the newest task in the running mean of the durations. */
const NEWEST_WEIGHT = 0.2;
/** The longest Retry-After. The mean may come from layers that are much larger than the next one. */
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

  /** The number of waiting tasks. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** The number of running tasks. */
  get running(): number {
    return this.#running;
  }

  /**
   * Waits for a place. The caller holds the place until it calls the returned function, which is idempotent.
   * @throws {BusyError} if the queue is full
   * @throws the signal's reason if it aborts before a place is free
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const { concurrency, maxWaiting, clock } = this.#options;
    if (this.#running < concurrency) this.#running++;
    else if (this.#waiting.size >= maxWaiting) {
      throw new BusyError(this.#waiting.size, this.retryAfterSeconds);
    } // A leaving task passes its place to the next waiting one, so `running` does not drop and a newcomer cannot overtake.
    else await this.#wait(signal);
    const start = clock();
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#meanMilliseconds += (clock() - start - this.#meanMilliseconds) * NEWEST_WEIGHT;
      this.#leave();
    };
  }

  /** Runs `task` while holding a place. @throws as `enter`, and what the task throws */
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

  /** The expected time until a new task would get a place, estimated from earlier tasks: a whole number of seconds from 1. */
  get retryAfterSeconds(): number {
    const { concurrency } = this.#options;
    const seconds = Math.ceil((this.#meanMilliseconds * (this.#waiting.size + 1)) / concurrency / 1000);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, seconds));
  }
}
