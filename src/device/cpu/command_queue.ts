/**
 * The calling thread's side of the command ring (`command_ring.ts`): writes commands into free slots and publishes them
 * to the workers. Every 256th command is a fence. When all workers have passed a fence, the slots before it are free
 * for new commands. If the ring is full, commands wait in an overflow list. The queue never blocks the calling thread.
 */

import {
  ARGS,
  CAPACITY,
  COMPLETED,
  FENCE,
  ITEM_COUNT,
  ITEMS_DONE,
  KERNEL,
  MAX_ARGS,
  NEXT_ITEM,
  PENDING_ARGS,
  PUBLISHED,
  RING_CELLS,
  SIGNAL,
  slotOf,
  STOP,
} from "./command_ring.ts";
import type { KernelInstance } from "./module.ts";

/**
 * The number of commands from one fence to the next. A full ring has several fences, so its slots become free again.
 */
const FENCE_INTERVAL = CAPACITY / 4;
/** The number of commands that are published together, because waking the workers costs more than writing a command. */
const BATCH = 8;
/** `stop` adds this number to the cells that workers wait on. It moves the cells past the position of every worker. */
const STOP_JUMP = 0x40000000;

interface Command {
  readonly kernel: number;
  readonly items: number;
  readonly args: Int32Array;
}

/** Queues commands for the workers. Signals and fences are commands too. */
export class CommandQueue {
  readonly #cells: Int32Array;
  readonly #pendingArgs: Int32Array;
  readonly #overflow: Command[] = [];
  #queued = 0;
  #written = 0;
  #published = 0;
  #completed = 0;
  /** The slots of the commands before this position are free. */
  #freed = 0;
  #stopped = false;

  /** @param ring the address of {@link RING_CELLS} cells in `memory` */
  constructor(
    memory: WebAssembly.Memory,
    private readonly ring: number,
    private readonly kernels: KernelInstance,
  ) {
    this.#cells = new Int32Array(memory.buffer, ring, RING_CELLS).fill(0);
    this.#pendingArgs = this.#cells.subarray(PENDING_ARGS, PENDING_ARGS + MAX_ARGS);
  }

  /** The number of commands queued so far. */
  get queued(): number {
    return this.#queued;
  }

  /** All commands before this position are done. The value does not change after {@link stop}. */
  get completed(): number {
    if (!this.#stopped) this.#completed += (Atomics.load(this.#cells, COMPLETED) - this.#completed) | 0;
    return this.#completed;
  }

  /** Queues a kernel with the first `words` words of `args`. A kernel without work items is skipped. */
  push(kernel: number, args: Uint32Array, words: number): void {
    for (let i = 0; i < words; i++) this.#pendingArgs[i] = args[i];
    const items = this.kernels.items[kernel](this.ring + 4 * PENDING_ARGS);
    if (items > 0) this.#append(kernel, items, words);
  }

  /** Queues a signal, which makes a worker send a message when all commands before it are done, and publishes. */
  signal(): void {
    this.#append(SIGNAL, 1, 0);
    this.publish();
  }

  /** Makes all commands in the ring visible to the workers. {@link push} does this once per {@link BATCH} commands. */
  publish(): void {
    if (this.#stopped || this.#published === this.#written) return;
    this.#published = this.#written;
    Atomics.store(this.#cells, PUBLISHED, this.#published | 0);
    Atomics.notify(this.#cells, PUBLISHED);
  }

  /**
   * Frees slots and fills them with commands from the overflow list.
   * @param fences the number of fences that all workers have passed. The slots before the last of them are free
   */
  release(fences: number): void {
    this.#freed = fences * FENCE_INTERVAL;
    const count = Math.min(this.#overflow.length, this.#freed + CAPACITY - this.#written);
    if (count <= 0) return;
    for (const { kernel, items, args } of this.#overflow.splice(0, count)) this.#write(kernel, items, args);
    this.publish();
  }

  /** Makes every worker exit after its current item, whether the worker is running or sleeping. */
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

  /** Queues the command whose arguments are in the pending cells, followed by a fence if one is due. */
  #append(kernel: number, items: number, words: number): void {
    if (this.#stopped) return;
    if (this.#written - this.#freed < CAPACITY) {
      this.#write(kernel, items, this.#pendingArgs.subarray(0, words));
      if (this.#written - this.#published >= BATCH) this.publish();
    } else this.#overflow.push({ kernel, items, args: this.#pendingArgs.slice(0, words) });
    this.#queued++;
    if ((this.#queued + 1) % FENCE_INTERVAL === 0) this.#append(FENCE, 1, 0);
  }

  #write(kernel: number, items: number, args: Int32Array): void {
    const cells = this.#cells, slot = slotOf(this.#written++);
    cells[slot + KERNEL] = kernel;
    cells[slot + ITEM_COUNT] = items;
    cells[slot + NEXT_ITEM] = 0;
    cells[slot + ITEMS_DONE] = 0;
    cells.set(args, slot + ARGS);
  }
}
