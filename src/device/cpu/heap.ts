/**
 * The heap of a backend: the part of the WebAssembly memory after the module's own data and shared memory, which holds the buffers. The
 * heap allocates memory and copies bytes in and out. It frees the memory of a destroyed buffer, or gives it to a new buffer of the same size.
 */

import { Allocator } from "./allocator.ts";

const PAGE_BYTES = 65536;

/**
 * The largest number of pages that the heap uses: one page less than the 4 GiB that wasm32 can address. The end of the
 * last allocation is then still a 32-bit address, and a loop up to that address terminates.
 */
const MAX_PAGES = 65535;

/** The largest size of the memory in bytes. The module's data and the threads' scratches take a few MiB of it. */
export const MAX_HEAP_BYTES = MAX_PAGES * PAGE_BYTES;

/**
 * The maximum size with which the memory is declared: all 4 GiB that wasm32 can address. An engine reserves the address
 * range of a shared memory up to this maximum. A stray access of a kernel then hits an unmapped page of that range,
 * even if the engine does not check the bounds of accesses.
 */
export const DECLARED_PAGES = 65536;

/** An allocation that is freed once the first `position` queued commands are done. No later command uses it. */
interface Retired {
  readonly address: number;
  readonly bytes: number;
  readonly position: number;
}

/** Memory that the first `usedUntil` queued commands may still use. Only later commands may change it. */
export interface Reserved {
  readonly address: number;
  readonly usedUntil: number;
}

/** The heap of one backend. */
export class Heap {
  readonly #allocator: Allocator;
  #retired: Retired[] = [];
  /** A view of the whole memory. It is replaced when the memory has grown. */
  #bytes: Uint8Array<ArrayBufferLike>;

  /** @param heapBase the address from which on the heap allocates */
  constructor(readonly memory: WebAssembly.Memory, heapBase: number) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#allocator = new Allocator(heapBase, MAX_HEAP_BYTES, (end) => this.#growTo(end));
  }

  /** Returns the address of `bytes` free bytes, or undefined if there is no room. */
  allocate(bytes: number): number | undefined {
    return this.#allocator.allocate(bytes);
  }

  /**
   * Reserves memory that queued commands may still use. The host must not write to it before they are done. It may be a retired allocation
   * of the same size, because commands run one after the other. So the temporary buffers of commands that are queued far ahead do not all
   * need memory of their own.
   * @returns undefined if there is no room
   */
  reserve(bytes: number): Reserved | undefined {
    const i = this.#retired.findIndex((allocation) => allocation.bytes === bytes);
    if (i >= 0) {
      const [{ address, position }] = this.#retired.splice(i, 1);
      return { address, usedUntil: position };
    }
    const address = this.allocate(bytes);
    return address === undefined ? undefined : { address, usedUntil: 0 };
  }

  /** Marks an allocation of `bytes` bytes to be freed once the first `position` queued commands are done. */
  retire(address: number, bytes: number, position: number): void {
    this.#retired.push({ address, bytes, position });
  }

  /** Frees the retired allocations that no command uses any more. The first `completed` commands are done. */
  sweep(completed: number): void {
    if (this.#retired.length === 0) return;
    const inUse: Retired[] = [];
    for (const allocation of this.#retired) {
      if (allocation.position <= completed) this.#allocator.free(allocation.address);
      else inUse.push(allocation);
    }
    this.#retired = inUse;
  }

  /** Copies `bytes` to `address`. */
  write(address: number, bytes: Uint8Array): void {
    this.#view().set(bytes, address);
  }

  /** Returns a copy of the `length` bytes at `address`. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    // `slice` is four times as fast as copying into a new array, because a new array is first filled with zeros.
    return this.#view().slice(address, address + length);
  }

  #view(): Uint8Array<ArrayBufferLike> {
    if (this.#bytes.byteLength !== this.memory.buffer.byteLength) {
      this.#bytes = new Uint8Array(this.memory.buffer);
    }
    return this.#bytes;
  }

  #growTo(end: number): boolean {
    const missing = end - this.memory.buffer.byteLength;
    if (missing <= 0) return true;
    try {
      this.memory.grow(Math.ceil(missing / PAGE_BYTES));
      return true;
    } catch (error) {
      // `grow` throws a RangeError when the system has no more memory.
      if (error instanceof RangeError) return false;
      throw error;
    }
  }
}
