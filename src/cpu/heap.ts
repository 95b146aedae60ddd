/**
 * The module's linear memory with its arena: allocates blocks, copies bytes in and out, and takes freed blocks back once
 * the commands that use them are done.
 */

import { Arena } from "./arena.ts";

const PAGE_BYTES = 65536;

/**
 * One page short of the 4 GiB that wasm32 addresses, so that the end of the last block is an address too and a loop up to
 * it does not wrap around.
 */
export const MAX_PAGES = 65535;

/**
 * What the memory is declared to grow to: all that wasm32 addresses, of which the heap never uses the last page. An engine reserves
 * a shared memory whole, so that a stray address meets unmapped memory of its own even where accesses are not checked.
 */
export const DECLARED_PAGES = 65536;

/** A block given up while commands before `position` may still use it. */
interface Retired {
  readonly address: number;
  readonly position: number;
}

/** The heap of one backend. */
export class Heap {
  readonly memory: WebAssembly.Memory;
  readonly #arena: Arena;
  #retired: Retired[] = [];
  /** Over all of the memory; made anew when it has grown. */
  #bytes: Uint8Array<ArrayBufferLike>;

  /** @param heapBase where the module's own data ends */
  constructor(memory: WebAssembly.Memory, heapBase: number) {
    this.memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#arena = new Arena(heapBase, MAX_PAGES * PAGE_BYTES, (end) => this.#reach(end));
  }

  /** The address of `bytes` new bytes; undefined when there is no room. */
  allocate(bytes: number): number | undefined {
    return this.#arena.allocate(bytes);
  }

  /** Gives a block back once the commands before `position` are done. */
  retire(address: number, position: number): void {
    this.#retired.push({ address, position });
  }

  /** Frees the retired blocks that commands from `completed` on cannot use. */
  sweep(completed: number): void {
    if (this.#retired.length === 0) return;
    const waiting: Retired[] = [];
    for (const block of this.#retired) {
      if (block.position <= completed) this.#arena.free(block.address);
      else waiting.push(block);
    }
    this.#retired = waiting;
  }

  /** Copies `bytes` to `address`. */
  write(address: number, bytes: Uint8Array): void {
    this.#view().set(bytes, address);
  }

  /** A copy of `length` bytes at `address`. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    // `slice` spares the zeros that a new array is filled with first: four times as fast.
    return this.#view().slice(address, address + length);
  }

  #view(): Uint8Array<ArrayBufferLike> {
    if (this.#bytes.byteLength !== this.memory.buffer.byteLength) {
      this.#bytes = new Uint8Array(this.memory.buffer);
    }
    return this.#bytes;
  }

  #reach(end: number): boolean {
    const missing = end - this.memory.buffer.byteLength;
    if (missing <= 0) return true;
    try {
      this.memory.grow(Math.ceil(missing / PAGE_BYTES));
      return true;
    } catch (error) {
      // What `grow` throws when the system has no more memory to give.
      if (error instanceof RangeError) return false;
      throw error;
    }
  }
}
