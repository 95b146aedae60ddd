/**
 * The allocator of the module's linear memory: best fit over a list of free blocks, merged with their neighbours when
 * freed, so that the buffers of one layer land on the warm pages of the last. Its bookkeeping is here, not in the memory.
 * It knows addresses only: whether a block is still in use is for the caller to know.
 */

/** A cache line, so that no two buffers share one and every row of 16 floats can be aligned. */
export const ALIGNMENT = 64;

interface Block {
  address: number;
  bytes: number;
}

/** Allocates from [`start`, `limit`) of a memory that grows. */
export class Arena {
  /** Ascending by address; no two touch. */
  readonly #free: Block[] = [];
  readonly #sizes = new Map<number, number>();
  readonly #limit: number;
  readonly #grow: (end: number) => boolean;
  /** Where the memory handed to the arena so far ends. */
  #end: number;

  /**
   * @param start the first usable address
   * @param limit the first address that must never be used
   * @param grow makes the memory reach to at least `end`; false when it cannot
   */
  constructor(start: number, limit: number, grow: (end: number) => boolean) {
    this.#end = Math.ceil(start / ALIGNMENT) * ALIGNMENT;
    this.#limit = limit;
    this.#grow = grow;
  }

  /** An address with `bytes` behind it, a multiple of {@link ALIGNMENT}; undefined when there is no room. */
  allocate(bytes: number): number | undefined {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const i = this.#bestFit(size) ?? this.#extend(size);
    if (i === undefined) return undefined;
    const block = this.#free[i], address = block.address;
    if (block.bytes === size) this.#free.splice(i, 1);
    else [block.address, block.bytes] = [address + size, block.bytes - size];
    this.#sizes.set(address, size);
    return address;
  }

  /** Takes back what {@link allocate} gave. @throws {Error} on an address that is not allocated */
  free(address: number): void {
    const bytes = this.#sizes.get(address);
    if (bytes === undefined) throw new Error(`free of ${address}: nothing is allocated there`);
    this.#sizes.delete(address);
    this.#release(address, bytes);
  }

  /** The index of the smallest free block that holds `size`, the lowest address among equals. */
  #bestFit(size: number): number | undefined {
    let best: number | undefined;
    for (let i = 0; i < this.#free.length; i++) {
      const { bytes } = this.#free[i];
      if (bytes >= size && (best === undefined || bytes < this.#free[best].bytes)) best = i;
    }
    return best;
  }

  /** Grows the memory until the last free block holds `size`; its index. */
  #extend(size: number): number | undefined {
    const last = this.#free.at(-1);
    const start = last && last.address + last.bytes === this.#end ? last.address : this.#end;
    const end = start + size;
    if (end > this.#limit || !this.#grow(end)) return undefined;
    const added = end - this.#end;
    this.#end = end;
    return this.#release(end - added, added);
  }

  /** Adds a block to the free list, merging it with the ones it touches; the index it ends in. */
  #release(address: number, bytes: number): number {
    const free = this.#free;
    let low = 0, high = free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (free[middle].address < address) low = middle + 1;
      else high = middle;
    }
    const before = free[low - 1], after = free[low];
    const joinsBefore = before !== undefined && before.address + before.bytes === address;
    const joinsAfter = after !== undefined && address + bytes === after.address;
    if (joinsBefore) {
      before.bytes += bytes + (joinsAfter ? after.bytes : 0);
      if (joinsAfter) free.splice(low, 1);
      return low - 1;
    }
    if (joinsAfter) [after.address, after.bytes] = [address, after.bytes + bytes];
    else free.splice(low, 0, { address, bytes });
    return low;
  }
}
