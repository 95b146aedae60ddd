/** The messages between the calling thread (`thread_pool.ts`) and its workers (`worker.ts`). */

/** The first and only message to a worker. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** The address of the command ring. */
  readonly ring: number;
  /** The address of the worker's scratch memory. */
  readonly scratch: number;
  /** The path of the BLAS library, if one is used. */
  readonly blasPath?: string;
}

/** A message from a worker. */
export type WorkerMessage =
  /** The worker has instantiated the kernels and reads the ring. */
  | { readonly kind: "ready" }
  /** The worker could not start. This is its last message. */
  | { readonly kind: "not started"; readonly reason: string }
  /**
   * The worker has reached a signal, a command that makes one worker send this message. All commands before
   * the signal are done.
   */
  | { readonly kind: "signal" }
  /**
   * The worker has passed another fence, a command that makes every worker send this message. `fences` is the
   * number of fences that the worker has passed so far. When all workers have passed a fence, the calling
   * thread reuses the ring slots of the commands before the fence.
   */
  | { readonly kind: "fence"; readonly fences: number }
  /** The kernel with this index trapped. The worker stops. */
  | { readonly kind: "failed"; readonly kernel: number; readonly reason: string }
  /** The worker has stopped reading the command ring. This is its last message. */
  | { readonly kind: "stopped" };
