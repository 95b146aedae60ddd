/**
 * Counts the set bits in each column of a bit matrix, 32 columns at a time. The counters are bit-sliced,
 * which means that plane p is a row of words with bit p of the counter of every column. A row of the matrix
 * is added to all counters with bit operations on whole words, which carry from one plane to the next. A
 * counter has 8 bits. Before one can overflow, all counters are added to ordinary integers and start again at
 * 0.
 */

import { wordsPerRow } from "../../tensor/mask_bits.ts";

/** The number of bits per counter. */
const PLANES = 8;

/** The number of rows after which a counter may be full. */
const ROWS_PER_FLUSH = 2 ** PLANES - 1;

/** The counts of the columns of a bit matrix with `cols` columns. */
export class ColumnCounts {
  readonly #words: number;
  readonly #planes: Uint32Array;
  readonly #counts: Uint32Array<ArrayBuffer>;
  /** The number of rows that were added to the planes since the last flush. */
  #pendingRows = 0;

  constructor(cols: number) {
    this.#words = wordsPerRow(cols);
    this.#planes = new Uint32Array(PLANES * this.#words);
    this.#counts = new Uint32Array(cols);
  }

  /**
   * Adds a row of bits. Bit c%32 of word c/32 belongs to column c, and the bits after the last column must be
   * 0.
   */
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

  /** Returns the number of set bits in each column of the rows added so far, (cols) u32. */
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
