/**
 * What runs the commands of the `cpu` backend, in order: a pool of threads (`pool.ts`) or the calling thread itself
 * (`inline.ts`). A command is a kernel index and its argument block; buffers, names and checks are the backend's.
 */

/** A queue of commands. Positions count them from 0. */
export interface Executor {
  /** Threads beside the caller's; 0 when commands run on the caller's. */
  readonly threads: number;
  /** Commands queued so far. What a command at this position or later touches is not in use by an earlier one. */
  readonly queued: number;
  /** Commands before this position are done, and their results visible to the caller. */
  readonly completed: number;

  /** Queues kernel `kernel` with the first `words` of `args`, which may be reused at once. */
  push(kernel: number, args: Uint32Array, words: number): void;

  /** @throws {DeviceLostError} when a command failed or the threads were ended */
  throwIfLost(): void;

  /** Resolves when everything queued so far is done. @throws {DeviceLostError} when a command failed, now or before */
  finish(): Promise<void>;

  /** Ends the threads, after the items they are at. Unfinished calls of {@link finish} reject. */
  dispose(): Promise<void>;
}
