/**
 * The host's end of the command ring: writes commands into free slots and publishes them to the workers. When the ring is
 * full they spill into a list and move over as fences show slots to be free. It never waits.
 */

import type { KernelInstance } from "./module.ts";
import {
  ARGS,
  CAPACITY,
  COMPLETED,
  DONE,
  FENCE,
  ITEMS,
  KERNEL,
  MAX_ARGS,
  NEXT,
  PUBLISHED,
  RING_WORDS,
  SIGNAL,
  slotOf,
  SPARE_ARGS,
  STOP,
} from "./ring.ts";

/** Commands from fence to fence. A full ring holds several, so one is always still to be passed and to free its slots. */
const FENCE_INTERVAL = CAPACITY / 4;
/** Commands that are published together: waking the workers costs more than writing one. */
const BATCH = 8;
/** Moves both cells that workers wait on past any position they can be at. */
const STOP_JUMP = 0x40000000;

interface Spilled {
  readonly kernel: number;
  readonly items: number;
  readonly args: Int32Array;
}

/** Commands on their way to the workers. Positions count them from 0, signals and fences included. */
export class CommandQueue {
  readonly #kernels: KernelInstance;
  readonly #ring: number;
  readonly #cells: Int32Array;
  readonly #spare: Int32Array;
  readonly #spilled: Spilled[] = [];
  #queued = 0;
  #written = 0;
  #published = 0;
  #completed = 0;
  /** Slots of commands before this position can be written again. */
  #freed = 0;
  #stopped = false;

  /** @param ring the address of `RING_WORDS` words in `memory` */
  constructor(memory: WebAssembly.Memory, ring: number, kernels: KernelInstance) {
    this.#kernels = kernels;
    this.#ring = ring;
    this.#cells = new Int32Array(memory.buffer, ring, RING_WORDS).fill(0);
    this.#spare = this.#cells.subarray(SPARE_ARGS, SPARE_ARGS + MAX_ARGS);
  }

  /** Commands queued so far. */
  get queued(): number {
    return this.#queued;
  }

  /** Commands before this position are done. Stands still after {@link stop}. */
  get completed(): number {
    if (!this.#stopped) this.#completed += (Atomics.load(this.#cells, COMPLETED) - this.#completed) | 0;
    return this.#completed;
  }

  /** Queues a kernel with the first `words` of `args`; one that falls into no items is left out. */
  push(kernel: number, args: Uint32Array, words: number): void {
    for (let i = 0; i < words; i++) this.#spare[i] = args[i];
    const items = this.#kernels.items[kernel](this.#ring + 4 * SPARE_ARGS);
    if (items > 0) this.#append(kernel, items, words);
  }

  /** Queues a signal and publishes everything; the signal is at position {@link queued} − 1 or, before a fence, − 2. */
  signal(): void {
    this.#append(SIGNAL, 1, 0);
    this.publish();
  }

  /** Lets the workers see every command written so far. They do by themselves once a batch is full. */
  publish(): void {
    if (this.#stopped || this.#published === this.#written) return;
    this.#published = this.#written;
    Atomics.store(this.#cells, PUBLISHED, this.#published | 0);
    Atomics.notify(this.#cells, PUBLISHED);
  }

  /** Takes note that every worker has passed `fences` fences in all, and fills the slots that this frees. */
  release(fences: number): void {
    this.#freed = fences * FENCE_INTERVAL;
    const count = Math.min(this.#spilled.length, this.#freed + CAPACITY - this.#written);
    if (count <= 0) return;
    for (const { kernel, items, args } of this.#spilled.splice(0, count)) this.#write(kernel, items, args);
    this.publish();
  }

  /** Makes every worker leave after the item it is at, whether it runs or sleeps. */
  stop(): void {
    if (this.#stopped) return;
    this.#completed = this.completed;
    this.#stopped = true;
    Atomics.store(this.#cells, STOP, 1);
    for (const cell of [PUBLISHED, COMPLETED]) {
      Atomics.add(this.#cells, cell, STOP_JUMP);
      Atomics.notify(this.#cells, cell);
    }
  }

  /** Queues the command whose arguments are in the spare block, and a fence where one is due. */
  #append(kernel: number, items: number, words: number): void {
    if (this.#stopped) return;
    if (this.#written - this.#freed < CAPACITY) {
      this.#write(kernel, items, this.#spare.subarray(0, words));
      if (this.#written - this.#published >= BATCH) this.publish();
    } else this.#spilled.push({ kernel, items, args: this.#spare.slice(0, words) });
    this.#queued++;
    if ((this.#queued + 1) % FENCE_INTERVAL === 0) this.#append(FENCE, 1, 0);
  }

  #write(kernel: number, items: number, args: Int32Array): void {
    const cells = this.#cells, slot = slotOf(this.#written++);
    cells[slot + KERNEL] = kernel;
    cells[slot + ITEMS] = items;
    cells[slot + NEXT] = 0;
    cells[slot + DONE] = 0;
    cells.set(args, slot + ARGS);
  }
}
