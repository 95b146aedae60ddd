/**
 * The layout of the command ring: a ring buffer in shared memory that passes commands from the calling thread
 * (`command_queue.ts`) to the worker threads (`worker.ts`). It consists of three control cells, one slot per command,
 * and the arguments of the command that is being queued. A cell is a 32-bit integer.
 *
 * The position of a command is the number of commands before it. In the ring, positions wrap around at 2³², so two
 * positions are compared by the sign of their difference.
 */

import type { ProductLibrary } from "./products/product_library.ts";

/** The number of commands that fit in the ring. A power of two, so that wrapped positions map to consecutive slots. */
export const CAPACITY = 1024;
/** The most words that the arguments of a command may have. */
export const MAX_ARGS = 48;

/** Control cell: the commands before this position are in the ring. Each control cell has its own cache line. */
export const PUBLISHED = 0;
/** Control cell: the commands before this position are done. */
export const COMPLETED = 16;
/** Control cell: 0, or 1 to make every worker exit. */
export const STOP = 32;
const CONTROL_CELLS = 48;

/** Slot cell: the index of the kernel, or {@link SIGNAL} or {@link FENCE}. */
export const KERNEL = 0;
/** Slot cell: the number of work items. */
export const ITEM_COUNT = 1;
/** Slot cell: the next item that no worker has taken yet. */
export const NEXT_ITEM = 2;
/** Slot cell: the number of items that are done. */
export const ITEMS_DONE = 3;
/** The first slot cell of the arguments, on a new cache line. */
export const ARGS = 16;
const SLOT_CELLS = ARGS + MAX_ARGS;

/** The first cell of the arguments of the command that is being queued, from which the kernel counts its work items. */
export const PENDING_ARGS = CONTROL_CELLS + CAPACITY * SLOT_CELLS;

/** The number of cells of the whole layout. */
export const RING_CELLS = PENDING_ARGS + MAX_ARGS;

/** The value of {@link KERNEL} for a signal: the worker that takes it sends a message to the calling thread. */
export const SIGNAL = -1;
/** The value of {@link KERNEL} for a fence: every worker that passes it sends a message to the calling thread. */
export const FENCE = -2;

/** The first cell of the slot of the command at `position`. */
export function slotOf(position: number): number {
  return CONTROL_CELLS + (position & (CAPACITY - 1)) * SLOT_CELLS;
}

/** The first and only message to a worker. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** The address of the command ring. */
  readonly ring: number;
  /** The number of workers. */
  readonly threads: number;
  /** The address of the worker's scratch memory. */
  readonly scratch: number;
  /** The library for products, if one is used. */
  readonly library?: Pick<ProductLibrary, "path" | "precision">;
}

export type WorkerMessage =
  /** The worker has instantiated the kernels and reads the ring. */
  | { readonly kind: "ready" }
  /** The worker could not start. This is its last message. */
  | { readonly kind: "not started"; readonly reason: string }
  /** The worker has reached a {@link SIGNAL}. All commands before the signal are done. */
  | { readonly kind: "signal" }
  /** The worker has passed another {@link FENCE}. `fences` is the number of fences that it has passed so far. */
  | { readonly kind: "fence"; readonly fences: number }
  /** The kernel with this index trapped. The worker stops. */
  | { readonly kind: "failed"; readonly kernel: number; readonly reason: string }
  /** The worker has stopped reading the command ring. This is its last message. */
  | { readonly kind: "stopped" };
