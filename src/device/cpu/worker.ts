/**
 * A worker thread of the pool. All workers read the command ring (`command_ring.ts`) from the first command to the
 * last. For each command, a worker takes work items until none is left, and then waits until the other workers have
 * finished their items too. A worker does not return to its event loop between commands. It waits by polling for a few
 * microseconds and then by `Atomics.wait`, which uses no processor time.
 */

import {
  ARGS,
  COMPLETED,
  FENCE,
  ITEM_COUNT,
  ITEMS_DONE,
  KERNEL,
  NEXT_ITEM,
  PUBLISHED,
  RING_CELLS,
  SIGNAL,
  slotOf,
  STOP,
  type WorkerMessage,
  type WorkerStart,
} from "./command_ring.ts";
import { instantiate, type KernelInstance } from "./module.ts";
import { loadProducts } from "./products/product_library.ts";
import { messageOf } from "../../base/errors.ts";

/**
 * The number of times that a worker polls before it sleeps. These polls take 10–20 µs, which is about the cost of going
 * to sleep and waking up.
 */
const POLLS = 4000;

/** The worker's global scope. The standard library declares only the global scope of a window. */
const scope = globalThis as unknown as {
  postMessage(message: WorkerMessage): void;
  onmessage: ((event: MessageEvent<WorkerStart>) => void) | null;
  close(): void;
};

class RingReader {
  readonly #kernels: KernelInstance;
  readonly #cells: Int32Array;
  readonly #ring: number;
  /** The position of the command that the worker runs next: the number of commands before it. */
  #position = 0;
  #fences = 0;

  constructor(start: WorkerStart) {
    const { library } = start;
    this.#kernels = instantiate(
      start.module,
      start.memory,
      start.threads,
      library && loadProducts(library.path, library.precision),
    );
    this.#kernels.setScratch(start.scratch);
    this.#cells = new Int32Array(start.memory.buffer, start.ring, RING_CELLS);
    this.#ring = start.ring;
  }

  /** Runs commands until {@link STOP} is set or a kernel fails. */
  run(): void {
    while (this.#waitPast(PUBLISHED)) {
      const slot = slotOf(this.#position);
      const kernel = this.#cells[slot + KERNEL];
      try {
        this.#runItems(slot, kernel);
      } catch (error) {
        scope.postMessage({ kind: "failed", kernel, reason: messageOf(error) });
        return;
      }
      if (!this.#waitPast(COMPLETED)) return;
      if (kernel === FENCE) scope.postMessage({ kind: "fence", fences: ++this.#fences });
      this.#position = (this.#position + 1) | 0;
    }
  }

  /** Runs items of a command until none is left. The worker that finishes the last one completes the command. */
  #runItems(slot: number, kernel: number): void {
    const cells = this.#cells, items = cells[slot + ITEM_COUNT];
    const run = this.#kernels.run[kernel], args = this.#ring + 4 * (slot + ARGS);
    let finished = 0;
    for (
      let item = Atomics.add(cells, slot + NEXT_ITEM, 1);
      item < items;
      item = Atomics.add(cells, slot + NEXT_ITEM, 1)
    ) {
      if (kernel >= 0) run(args, item);
      finished++;
      if (cells[STOP] !== 0) return;
    }
    if (finished === 0 || Atomics.add(cells, slot + ITEMS_DONE, finished) + finished < items) return;
    Atomics.store(cells, COMPLETED, (this.#position + 1) | 0);
    Atomics.notify(cells, COMPLETED);
    if (kernel === SIGNAL) scope.postMessage({ kind: "signal" });
  }

  /** Waits until the position in `cell` is past this worker's position. Returns false if {@link STOP} is set. */
  #waitPast(cell: number): boolean {
    const cells = this.#cells;
    for (let polls = 0;; polls++) {
      // `CommandQueue.stop` changes both cells, so a stop between this load and the wait makes the wait return at once.
      const value = Atomics.load(cells, cell);
      if (Atomics.load(cells, STOP) !== 0) return false;
      if (((value - this.#position) | 0) > 0) return true;
      if (polls >= POLLS) Atomics.wait(cells, cell, value);
    }
  }
}

scope.onmessage = ({ data }) => {
  let reader: RingReader;
  try {
    reader = new RingReader(data);
  } catch (error) {
    return scope.postMessage({ kind: "not started", reason: messageOf(error) });
  }
  scope.postMessage({ kind: "ready" });
  reader.run();
  scope.postMessage({ kind: "stopped" });
  scope.close();
};
