/**
 * Splits rows of weights into a bitmask and the values of the set bits, and joins them again. An entry counts as zero only if
 * all of its bits are zero, so −0 and NaN payloads survive. (The compressed-tensors library drops −0 when it packs, but it
 * reads files that contain −0.) Entries are handled as words of 16 or 32 bits. No entry is converted to a number.
 */

/** Entries of F16 and BF16 weights (16 bits) or of F32 weights (32 bits), as they are stored. */
export type Words = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/**
 * Views little-endian entries as words. Each entry has `size` bytes, 2 or 4. The bytes are copied only if
 * they are not aligned.
 */
export function asWords(bytes: Uint8Array<ArrayBuffer>, size: number): Words {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const View = size === 2 ? Uint16Array : Uint32Array;
  return new View(buffer, byteOffset, byteLength / size);
}

/** Views words as bytes. */
export function asBytes({ buffer, byteOffset, byteLength }: Words | BigInt64Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** The number of bytes that hold the bits of a row with `cols` columns. The last byte is padded with zeros. */
export function bitmaskRowBytes(cols: number): number {
  return Math.ceil(cols / 8);
}

/**
 * Computes the bitmask of `words` (rows, cols). The mask has a 1 for every entry with at least one set bit.
 *
 * @returns the mask (rows, ⌈cols/8⌉). The least significant bit of a byte stands for its first column
 */
export function nonZeroBits(words: Words, cols: number): Uint8Array<ArrayBuffer> {
  const rows = words.length / cols, whole = cols >>> 3;
  const bits = new Uint8Array(rows * bitmaskRowBytes(cols));
  let at = 0, i = 0;
  for (let row = 0; row < rows; row++) {
    // Handling eight entries at a time without a branch is nine times as fast as one entry at a time.
    for (let byte = 0; byte < whole; byte++, i += 8) {
      bits[at++] = +(words[i] !== 0) | +(words[i + 1] !== 0) << 1 | +(words[i + 2] !== 0) << 2 |
        +(words[i + 3] !== 0) << 3 | +(words[i + 4] !== 0) << 4 | +(words[i + 5] !== 0) << 5 |
        +(words[i + 6] !== 0) << 6 | +(words[i + 7] !== 0) << 7;
    }
    if (cols % 8 === 0) continue;
    for (let bit = 0; bit < cols % 8; bit++) bits[at] |= +(words[i++] !== 0) << bit;
    at++;
  }
  return bits;
}

/** Counts the set bits in each row of `bits` (rows, rowBytes). */
export function countRows(bits: Uint8Array, rowBytes: number): number[] {
  return Array.from({ length: bits.length / rowBytes }, (_, row) => {
    let count = 0;
    for (let at = row * rowBytes; at < (row + 1) * rowBytes; at++) count += BITS_SET[bits[at]];
    return count;
  });
}

/** The number of set bits of every byte. */
const BITS_SET = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest !== 0; rest >>>= 1) count += rest & 1;
  return count;
});

/**
 * Selects the entries of `words` (rows, cols) whose bits are set, in row-major order.
 *
 * @param count the number of set bits in `bits`
 */
export function packValues(words: Words, cols: number, bits: Uint8Array, count: number): Words {
  // Every entry is written at `next`, and an entry whose bit is not set is overwritten by the following one.
  // After the last set bit, such entries are written at index `count`, so the array has one element more.
  const capacity = count + 1;
  const values = words instanceof Uint16Array ? new Uint16Array(capacity) : new Uint32Array(capacity);
  const rowBytes = bitmaskRowBytes(cols), rows = bits.length / rowBytes;
  let next = 0;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      values[next] = words[row * cols + col];
      next += bits[row * rowBytes + (col >>> 3)] >>> (col & 7) & 1;
    }
  }
  return values.subarray(0, count);
}

/**
 * Reverses {@link packValues}: puts the entries of `values`, in order, where `bits` are set, and +0 elsewhere.
 *
 * @returns entries (rows, cols)
 */
export function unpackValues(values: Words, cols: number, bits: Uint8Array): Words {
  const rowBytes = bitmaskRowBytes(cols), rows = bits.length / rowBytes;
  const words = values instanceof Uint16Array ? new Uint16Array(rows * cols) : new Uint32Array(rows * cols);
  let next = 0;
  for (let row = 0; row < rows; row++) {
    for (let at = 0; at < rowBytes; at++) {
      const first = row * cols + at * 8;
      // `rest & -rest` is the lowest set bit, and 31 − clz32 is its position.
      for (let rest = bits[row * rowBytes + at]; rest !== 0; rest &= rest - 1) {
        words[first + 31 - Math.clz32(rest & -rest)] = values[next++];
      }
    }
  }
  return words;
}
