/**
 * A best-fit allocator of address ranges. Free ranges are merged with their neighbours, so that the buffers of a layer
 * reuse the memory of the layer before, where the operating system has already mapped pages. The allocator's own data
 * lies outside the memory that it allocates from.
 */

/** The alignment of every allocation: a cache line, so that two buffers never share one. */
export const ALIGNMENT = 64;

interface FreeRange {
  address: number;
  bytes: number;
}

/** Allocates addresses from `start` to `limit` in a memory that can grow. */
export class Allocator {
  /** In ascending order of address. No two free ranges are adjacent. */
  readonly #free: FreeRange[] = [];
  /** The size of each allocation, by address. */
  readonly #sizes = new Map<number, number>();
  readonly #grow: (end: number) => boolean;
  /** The end of the addresses used so far. The addresses from here to the limit have never been allocated. */
  #end: number;

  /**
   * @param start the first usable address
   * @param limit the first address past the usable ones
   * @param grow grows the memory to at least `end` bytes, or returns false
   */
  constructor(start: number, private readonly limit: number, grow: (end: number) => boolean) {
    this.#end = Math.ceil(start / ALIGNMENT) * ALIGNMENT;
    this.#grow = grow;
  }

  /** Returns the address of `bytes` free bytes, a multiple of {@link ALIGNMENT}, or undefined if there is no room. */
  allocate(bytes: number): number | undefined {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const i = this.#bestFit(size) ?? this.#extend(size);
    if (i === undefined) return undefined;
    const range = this.#free[i], address = range.address;
    if (range.bytes === size) this.#free.splice(i, 1);
    else [range.address, range.bytes] = [address + size, range.bytes - size];
    this.#sizes.set(address, size);
    return address;
  }

  /** Frees an allocation. @throws {Error} if nothing is allocated at `address` */
  free(address: number): void {
    const bytes = this.#sizes.get(address);
    if (bytes === undefined) throw new Error(`cannot free address ${address}: nothing is allocated there`);
    this.#sizes.delete(address);
    this.#addFree(address, bytes);
  }

  /**
   * Returns the index of the smallest free range of at least `size` bytes, or undefined if there is none. Of equal
   * ranges, the range with the lowest address.
   */
  #bestFit(size: number): number | undefined {
    let best: number | undefined;
    for (let i = 0; i < this.#free.length; i++) {
      const { bytes } = this.#free[i];
      if (bytes >= size && (best === undefined || bytes < this.#free[best].bytes)) best = i;
    }
    return best;
  }

  /** Grows the memory until its last free range has `size` bytes. Returns its index, or undefined without room. */
  #extend(size: number): number | undefined {
    const last = this.#free.at(-1);
    const start = last && last.address + last.bytes === this.#end ? last.address : this.#end;
    const end = start + size;
    if (end > this.limit || !this.#grow(end)) return undefined;
    const added = end - this.#end;
    this.#end = end;
    return this.#addFree(end - added, added);
  }

  /** Adds a free range and merges it with adjacent free ranges. Returns the index of the result. */
  #addFree(address: number, bytes: number): number {
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
