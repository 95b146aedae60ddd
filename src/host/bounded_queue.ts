/**
 * A bounded FIFO queue for a scarce resource, such as the device or its memory. Only a fixed number of tasks run at
 * once, and further tasks wait in the order of their arrival. A task is refused if too many tasks are waiting already,
 * or if it has waited too long. A task that is aborted while it waits leaves the queue.
 */

import { Refusal } from "../protocol/refusal.ts";

export interface BoundedQueueOptions {
  readonly concurrency: number;
  readonly maxWaiting: number;
  /** The longest time for which a task waits. @default no limit */
  readonly maxWaitMilliseconds?: number;
  readonly clock: () => number;
}

/** The weight of the newest task in the moving average of the durations. */
const NEWEST_WEIGHT = 0.2;

/** The longest estimated wait, in seconds. The average may come from layers that are much larger than the next one. */
const MAX_RETRY_SECONDS = 120;

export class BoundedQueue {
  /** Functions that start the waiting tasks, in the order of their arrival. */
  readonly #waiting = new Set<() => void>();
  #running = 0;
  #meanMilliseconds = 0;

  constructor(private readonly options: BoundedQueueOptions) {}

  get waiting(): number {
    return this.#waiting.size;
  }

  get running(): number {
    return this.#running;
  }

  /**
   * Waits for a place.
   * @returns a function that releases the place. It is idempotent
   * @throws {Refusal} `busy` if the queue is full, or if no place was free in time
   * @throws the signal's reason if it aborts before a place is free
   */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const { concurrency, maxWaiting, clock } = this.options;
    if (this.#running < concurrency) this.#running++;
    else if (this.#waiting.size >= maxWaiting) {
      throw this.#busy(this.#describeLoad());
    } else await this.#waitForPlace(signal);
    const start = clock();
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#meanMilliseconds += (clock() - start - this.#meanMilliseconds) * NEWEST_WEIGHT;
      this.#release();
    };
  }

  /** Runs `task` while it holds a place. @throws the errors of `acquire` and of the task */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(signal);
    try {
      return await task();
    } finally {
      release();
    }
  }

  #describeLoad(): string {
    const { maxWaiting } = this.options;
    return `the queue is full: ${this.#waiting.size} of at most ${maxWaiting} requests wait, and ${this.#running} are running`;
  }

  async #waitForPlace(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (reason: unknown) => {
      this.#waiting.delete(resolve);
      reject(reason);
    };
    const abort = () => leave(signal!.reason);
    this.#waiting.add(resolve);
    signal?.addEventListener("abort", abort, { once: true });
    const { maxWaitMilliseconds = Infinity } = this.options, seconds = maxWaitMilliseconds / 1000;
    const giveUp = () =>
      leave(this.#busy(`the request waited for ${seconds} s, and ${this.#running} others are still running`));
    const timer = seconds === Infinity ? undefined : setTimeout(giveUp, maxWaitMilliseconds);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  #busy(detail: string): Refusal {
    return new Refusal("busy", detail, { retryAfter: this.retryAfterSeconds });
  }

  /** Gives the place directly to the task that has waited longest, so that a new task cannot overtake it. */
  #release(): void {
    const [next] = this.#waiting;
    if (next) {
      this.#waiting.delete(next);
      next();
      return;
    }
    this.#running--;
  }

  /** The expected wait of a new task in seconds, a positive integer, estimated from the durations of earlier tasks. */
  get retryAfterSeconds(): number {
    const { concurrency } = this.options;
    const seconds = Math.ceil((this.#meanMilliseconds * (this.#waiting.size + 1)) / concurrency / 1000);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, seconds));
  }
}
