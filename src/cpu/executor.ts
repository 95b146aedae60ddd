/**
 * The interface between the `cpu` backend and the code that runs its commands. A command is the index of a kernel and its
 * arguments; commands run one after the other. There are two executors: a pool of worker threads (`thread_pool.ts`) and the
 * calling thread itself (`inline_executor.ts`).
 */

/** A queue of commands. The position of a command is the number of commands that were queued before it. */
export interface Executor {
  /** The number of worker threads; 0 if commands run on the calling thread. */
  readonly threads: number;
  /** The number of commands queued so far, which is also the position of the next command. */
  readonly queued: number;
  /** All commands before this position are done, and the calling thread can read their results. */
  readonly completed: number;

  /** Queues kernel `kernel` with the first `words` words of `args`. The caller may reuse `args` immediately. */
  push(kernel: number, args: Uint32Array, words: number): void;

  /** @throws {DeviceLostError} if a command failed or the executor was disposed of */
  throwIfLost(): void;

  /**
   * Resolves when all commands queued so far are done.
   * @throws {DeviceLostError} if a command failed, now or earlier, or the executor was disposed of
   */
  finish(): Promise<void>;

  /** Ends each thread after its current work item. Pending calls of {@link finish} reject. */
  dispose(): Promise<void>;
}
