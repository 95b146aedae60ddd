/**
 * Receives the mask of a layer, as bits or as bytes. The result is the set of forced entries, which are the entries
 * that the solver must prune because the mask is 0 there.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { Owned } from "../../device/owned.ts";
import { maskRowBytes, wordsPerRow } from "../../tensor/pattern.ts";
import type { ForcedEntries } from "../solvers/solver.ts";
import type { TensorSink } from "./upload.ts";
import type { Strip, StripRules } from "../../device/host_memory.ts";

/**
 * The largest strip of a mask in bytes. The bits of a strip are counted on the calling thread, and counting two million
 * bits blocks the thread for about two milliseconds.
 */
const MASK_STRIP_BYTES = 2 ** 18;

export class MaskSink implements TensorSink<ForcedEntries> {
  readonly stripRules: StripRules;
  readonly checksPerStrip = 0;
  readonly #bits: Owned<DeviceBuffer>;
  readonly #counts: ColumnCounts;

  /**
   * @param packed whether the mask is U8 [rows, ⌈cols/8⌉] with one bit per entry. Otherwise the mask is BOOL [rows,
   *   cols] with one byte per entry
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(
    private readonly backend: Backend,
    rows: number,
    private readonly cols: number,
    private readonly packed: boolean,
  ) {
    const rowBytes = packed ? maskRowBytes(cols) : cols;
    this.stripRules = { rows, rowBytes, stripBytes: MASK_STRIP_BYTES, isChanged: true };
    this.#bits = new Owned(backend.createBuffer("forced entries", 4 * rows * wordsPerRow(cols)));
    this.#counts = new ColumnCounts(cols);
  }

  accept({ row0, rows, byteLength }: Strip, bytes: Uint8Array<ArrayBuffer>): void {
    const words = wordsPerRow(this.cols), rowBytes = byteLength / rows;
    // Packed rows of whole words have the form that the device needs, so they are changed in place.
    const isInPlace = this.packed && rowBytes === 4 * words && bytes.byteOffset % 4 === 0;
    const forced = isInPlace
      ? new Uint32Array(bytes.buffer, bytes.byteOffset, rows * words)
      : new Uint32Array(rows * words);
    for (let r = 0; r < rows; r++) {
      const target = forced.subarray(r * words, (r + 1) * words);
      if (!isInPlace) this.#convertRow(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), target);
      for (let w = 0; w < words; w++) target[w] = ~target[w];
      // The padding bits after the last column must not count as forced entries.
      if (this.cols % 32 !== 0) target[words - 1] &= 2 ** (this.cols % 32) - 1;
      this.#counts.add(target);
    }
    const { buffer, byteOffset } = forced;
    this.backend.write(
      this.#bits.value,
      row0 * words * 4,
      new Uint8Array(buffer, byteOffset, 4 * rows * words),
    );
  }

  #convertRow(source: Uint8Array, target: Uint32Array): void {
    if (this.packed) {
      new Uint8Array(target.buffer, target.byteOffset, source.byteLength).set(source);
    } else packBytes(source, target);
  }

  take(): ForcedEntries {
    return { bits: this.#bits.take(), perColumn: this.#counts.counts() };
  }

  destroy(): void {
    this.#bits.destroy();
  }
}

/** Sets bit c%32 of word c/32 for every byte c that is not 0. All bits of `words` must be 0 before the call. */
function packBytes(bytes: Uint8Array, words: Uint32Array): void {
  for (let c = 0; c < bytes.length; c++) {
    if (bytes[c] !== 0) words[c >>> 5] |= 1 << (c & 31);
  }
}

/** The number of bits per counter. */
const PLANES = 8;

/** The number of rows after which a counter may be full. */
const ROWS_PER_FLUSH = 2 ** PLANES - 1;

/**
 * Counts the ones in each column of a bit matrix with `cols` columns. Bit p of the counters of 32 columns is one word
 * of plane p, so that a few operations on words add 32 bits to their counters.
 */
export class ColumnCounts {
  readonly #words: number;
  readonly #planes: Uint32Array;
  readonly #counts: Uint32Array<ArrayBuffer>;
  #pendingRows = 0;

  constructor(cols: number) {
    this.#words = wordsPerRow(cols);
    this.#planes = new Uint32Array(PLANES * this.#words);
    this.#counts = new Uint32Array(cols);
  }

  /** Adds a row of bits. Bit c%32 of word c/32 belongs to column c, and the bits after the last column must be 0. */
  add(row: Uint32Array): void {
    const words = this.#words, planes = this.#planes;
    for (let w = 0; w < words; w++) {
      let carry = row[w];
      for (let at = w; carry !== 0; at += words) {
        const overflow = planes[at] & carry;
        planes[at] ^= carry;
        carry = overflow;
      }
    }
    if (++this.#pendingRows === ROWS_PER_FLUSH) this.#flush();
  }

  counts(): Uint32Array<ArrayBuffer> {
    this.#flush();
    return this.#counts;
  }

  /** Adds the counters in the planes to `#counts`, and sets the planes to 0. */
  #flush(): void {
    const words = this.#words, counts = this.#counts;
    for (let plane = 0; plane < PLANES; plane++) {
      for (let c = 0; c < counts.length; c++) {
        counts[c] += ((this.#planes[plane * words + (c >>> 5)] >>> (c & 31)) & 1) << plane;
      }
    }
    this.#planes.fill(0);
    this.#pendingRows = 0;
  }
}
