/**
 * The layout of the command ring in shared memory, the one thing host and workers both read and write. All cells are
 * 32-bit; positions wrap around, so they are compared by the sign of their difference.
 */

/** Commands the ring holds. A power of two, so that a position finds its slot after wrapping. */
export const CAPACITY = 1024;
/** The longest argument block, in words. */
export const MAX_ARGS = 48;

/** Cells of the control block, each on a cache line of its own. Commands before this position are in the ring. */
export const PUBLISHED = 0;
/** Commands before this position are done. */
export const COMPLETED = 16;
/** Not 0: the workers leave. */
export const STOP = 32;
const CONTROL_WORDS = 48;

/** Words of a slot: what to run, how many items, the next one to take, how many are done. Arguments begin on a new line. */
export const KERNEL = 0;
export const ITEMS = 1;
export const NEXT = 2;
export const DONE = 3;
export const ARGS = 16;
const SLOT_WORDS = ARGS + MAX_ARGS;

/** The first cell of a block of arguments beside the ring, where the host counts a command's items. */
export const SPARE_ARGS = CONTROL_WORDS + CAPACITY * SLOT_WORDS;

/** The ring's size. */
export const RING_WORDS = SPARE_ARGS + MAX_ARGS;

/** Values of the KERNEL cell that are not kernels. The first worker past a signal reports it; every worker reports a fence. */
export const SIGNAL = -1;
export const FENCE = -2;

/** The first cell of the slot of `position`. */
export function slotOf(position: number): number {
  return CONTROL_WORDS + (position & (CAPACITY - 1)) * SLOT_WORDS;
}

/** What a worker is given to start with. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Address of the ring. */
  readonly ring: number;
  /** Address of the worker's scratch. */
  readonly scratch: number;
}

/** What a worker says. `passed` counts fences; `unstarted`, `failed` and `stopped` are final. */
export type WorkerMessage =
  | { readonly kind: "ready" }
  | { readonly kind: "unstarted"; readonly reason: string }
  | { readonly kind: "signal" }
  | { readonly kind: "passed"; readonly fences: number }
  | { readonly kind: "failed"; readonly kernel: number; readonly reason: string }
  | { readonly kind: "stopped" };
