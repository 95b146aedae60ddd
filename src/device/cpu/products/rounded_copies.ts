/**
 * The bfloat16 copies of the operands that a library multiplies. An operand is rounded by a queued command, or by the
 * kernel that writes it, and its copy is used until the operand changes. So the weights of a block, and an input that
 * several layers and their statistics share, are rounded once instead of once per product.
 */

import type { CpuBuffer } from "../buffer.ts";

/** The functions of a backend that allocate, free and make the copies. */
interface RoundedCopiesOwner {
  allocate(label: string, bytes: number): number;
  /** Frees `address` when the commands that are queued so far are done. */
  retire(address: number, bytes: number): void;
  /** Queues the rounding of all elements of `buffer`. */
  round(buffer: CpuBuffer, address: number): void;
}

interface Copy {
  readonly address: number;
  readonly bytes: number;
  /** Whether the copy has the current elements of its operand. */
  isCurrent: boolean;
}

/** The most memory of all copies together. The copies that were used least recently are freed to make room. */
const MAX_BYTES = 256 << 20;

export class RoundedCopies {
  /** The copies by their operands, from the least to the most recently used. */
  readonly #copies = new Map<CpuBuffer, Copy>();
  /** The labels of all buffers that had copies. A further buffer with such a label is likely to need one too. */
  readonly #labels = new Set<string>();
  #bytes = 0;

  constructor(private readonly owner: RoundedCopiesOwner) {}

  /**
   * Returns the addresses of the copies of the operands of one kernel. If these copies alone need more than
   * {@link MAX_BYTES}, it returns zeros, and the kernel computes in float32.
   */
  addresses(operands: readonly CpuBuffer[]): number[] {
    const distinct = new Set(operands);
    if (totalBytes(distinct) > MAX_BYTES) return operands.map(() => 0);
    for (const buffer of distinct) this.#markUsed(buffer);
    this.#makeRoom(totalBytes([...distinct].filter((buffer) => !this.#copies.has(buffer))), distinct);
    return operands.map((buffer) => this.#current(buffer));
  }

  /**
   * Must be called when a queued kernel changes `buffer` and can round all that it changes. It rounds the first
   * `elements` elements in any case. Returns the address of the copy for the kernel. The address is 0 if no product has
   * read a buffer with this label, or if the other elements of the copy would be outdated.
   */
  writtenBy(buffer: CpuBuffer, elements: number): number {
    const isWhole = 4 * elements === buffer.byteLength, fits = this.#bytes + copyBytes(buffer) <= MAX_BYTES;
    const isExpected = isWhole && fits && this.#labels.has(buffer.label);
    const copy = this.#copies.get(buffer) ?? (isExpected ? this.#allocate(buffer) : undefined);
    if (!copy) return 0;
    copy.isCurrent ||= isWhole;
    return copy.isCurrent ? copy.address : 0;
  }

  /** Must be called when the elements of `buffer` have changed, or will be changed by a queued command. */
  markChanged(buffer: CpuBuffer): void {
    const copy = this.#copies.get(buffer);
    if (copy) copy.isCurrent = false;
  }

  /** Frees the copy of `buffer`, if there is one. */
  free(buffer: CpuBuffer): void {
    const copy = this.#copies.get(buffer);
    if (!copy) return;
    this.#copies.delete(buffer);
    this.#bytes -= copy.bytes;
    this.owner.retire(copy.address, copy.bytes);
  }

  #markUsed(buffer: CpuBuffer): void {
    const copy = this.#copies.get(buffer);
    if (!copy) return;
    this.#copies.delete(buffer);
    this.#copies.set(buffer, copy);
  }

  #makeRoom(bytes: number, inUse: ReadonlySet<CpuBuffer>): void {
    for (const buffer of this.#copies.keys()) {
      if (this.#bytes + bytes <= MAX_BYTES) return;
      if (!inUse.has(buffer)) this.free(buffer);
    }
  }

  #current(buffer: CpuBuffer): number {
    const copy = this.#copies.get(buffer) ?? this.#allocate(buffer);
    if (!copy.isCurrent) this.owner.round(buffer, copy.address);
    copy.isCurrent = true;
    return copy.address;
  }

  #allocate(buffer: CpuBuffer): Copy {
    const bytes = copyBytes(buffer), label = `bfloat16 copy of ${buffer.label}`;
    const copy = { address: this.owner.allocate(label, bytes), bytes, isCurrent: false };
    this.#copies.set(buffer, copy);
    this.#labels.add(buffer.label);
    this.#bytes += bytes;
    return copy;
  }
}

function totalBytes(buffers: Iterable<CpuBuffer>): number {
  return [...buffers].reduce((sum, buffer) => sum + copyBytes(buffer), 0);
}

/** The size of a copy, in whole 32-bit words. */
function copyBytes({ byteLength }: CpuBuffer): number {
  return Math.ceil(byteLength / 8) * 4;
}
