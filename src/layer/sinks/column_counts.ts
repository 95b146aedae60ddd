/**
 * Counts the set bits of each column of a bit matrix, 32 columns at a time. The counters are stored as bit planes: plane p holds bit p of
 * every column's count. Adding a row then takes a few word operations, and the planes are added to the counts only when they are full.
 */

const PLANES = 8;
const ROWS_PER_FLUSH = 2 ** PLANES - 1;

/** The counts of a bit matrix with `cols` columns. */
export class ColumnCounts {
  readonly #words: number;
  readonly #planes: Uint32Array;
  readonly #counts: Uint32Array<ArrayBuffer>;
  #pending = 0;

  constructor(cols: number) {
    this.#words = Math.ceil(cols / 32);
    this.#planes = new Uint32Array(PLANES * this.#words);
    this.#counts = new Uint32Array(cols);
  }

  /** Adds a row. Bit c%32 of word c/32 belongs to column c, and bits after the last column must be 0. */
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
    if (++this.#pending === ROWS_PER_FLUSH) this.#flush();
  }

  /** Returns the counts of the rows so far, (cols). */
  counts(): Uint32Array<ArrayBuffer> {
    this.#flush();
    return this.#counts;
  }

  #flush(): void {
    const words = this.#words, counts = this.#counts;
    for (let plane = 0; plane < PLANES; plane++) {
      for (let c = 0; c < counts.length; c++) {
        counts[c] += ((this.#planes[plane * words + (c >>> 5)] >>> (c & 31)) & 1) << plane;
      }
    }
    this.#planes.fill(0);
    this.#pending = 0;
  }
}
