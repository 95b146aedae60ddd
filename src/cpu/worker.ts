/**
 * One thread of the pool. It goes through the command ring in step with the others: takes items of the command at its
 * position until none are left, waits until the last of them is done, goes on. It never returns to its event loop
 * between commands; waiting is a short spin, then `Atomics.wait`, which costs no CPU.
 */

import { instantiate, type KernelInstance } from "./module.ts";
import {
  ARGS,
  COMPLETED,
  DONE,
  FENCE,
  ITEMS,
  KERNEL,
  NEXT,
  PUBLISHED,
  RING_WORDS,
  SIGNAL,
  slotOf,
  STOP,
  type WorkerMessage,
  type WorkerStart,
} from "./ring.ts";
import { messageOf } from "../text/message_of.ts";

/** Polls before sleeping: 10–20 µs, about what a sleep and a wake-up cost. */
const SPINS = 4000;

/** The worker's global scope, of which the standard library declares the window's side only. */
const host = globalThis as unknown as {
  postMessage(message: WorkerMessage): void;
  onmessage: ((event: MessageEvent<WorkerStart>) => void) | null;
  close(): void;
};

class Thread {
  readonly #kernels: KernelInstance;
  readonly #cells: Int32Array;
  readonly #ring: number;
  #position = 0;
  #fences = 0;

  constructor(start: WorkerStart) {
    this.#kernels = instantiate(start.module, start.memory);
    this.#kernels.setScratch(start.scratch);
    this.#cells = new Int32Array(start.memory.buffer, start.ring, RING_WORDS);
    this.#ring = start.ring;
  }

  /** Runs commands until told to stop, or until one fails. */
  run(): void {
    while (this.#waitPast(PUBLISHED)) {
      const slot = slotOf(this.#position);
      const kernel = this.#cells[slot + KERNEL];
      try {
        this.#takeItems(slot, kernel);
      } catch (error) {
        host.postMessage({ kind: "failed", kernel, reason: messageOf(error) });
        return;
      }
      if (!this.#waitPast(COMPLETED)) return;
      if (kernel === FENCE) host.postMessage({ kind: "passed", fences: ++this.#fences });
      this.#position = (this.#position + 1) | 0;
    }
  }

  #takeItems(slot: number, kernel: number): void {
    const cells = this.#cells, items = cells[slot + ITEMS];
    const run = this.#kernels.run[kernel], args = this.#ring + 4 * (slot + ARGS);
    let taken = 0;
    for (
      let item = Atomics.add(cells, slot + NEXT, 1);
      item < items;
      item = Atomics.add(cells, slot + NEXT, 1)
    ) {
      if (kernel >= 0) run(args, item);
      taken++;
      if (cells[STOP] !== 0) return;
    }
    if (taken === 0 || Atomics.add(cells, slot + DONE, taken) + taken < items) return;
    Atomics.store(cells, COMPLETED, (this.#position + 1) | 0);
    Atomics.notify(cells, COMPLETED);
    if (kernel === SIGNAL) host.postMessage({ kind: "signal" });
  }

  /** Waits until `cell` has gone past this thread's position; false when told to stop. */
  #waitPast(cell: number): boolean {
    const cells = this.#cells;
    for (let spins = 0;; spins++) {
      // STOP moves both cells, so a stop between this load and the wait below is not slept through.
      const seen = Atomics.load(cells, cell);
      if (Atomics.load(cells, STOP) !== 0) return false;
      if (((seen - this.#position) | 0) > 0) return true;
      if (spins >= SPINS) Atomics.wait(cells, cell, seen);
    }
  }
}

host.onmessage = ({ data }) => {
  let thread: Thread;
  try {
    thread = new Thread(data);
  } catch (error) {
    return host.postMessage({ kind: "unstarted", reason: messageOf(error) });
  }
  host.postMessage({ kind: "ready" });
  thread.run();
  host.postMessage({ kind: "stopped" });
  host.close();
};
