/**
 * Packs integer codes, to which weights are rounded, into the I32 words of the layout `pack-quantized` (`layout.ts`), and
 * unpacks them. A code has `bits` bits, which is 4 or 8. The words are little-endian, so code i of a sequence begins at bit
 * i·bits of the bytes, if the bits of each byte are counted from the least significant one.
 */

import { wordCount } from "./layout.ts";

const WORD_BYTES = 4;

/** Returns the number of bytes of the words that hold `count` codes of `bits` bits. */
export function wordBytes(count: number, bits: number): number {
  return wordCount(count, bits) * WORD_BYTES;
}

/**
 * Packs every row of `codes` (rows, cols) into words.
 *
 * @returns the bytes of I32 (rows, ⌈cols·bits/32⌉)
 */
export function packRows(codes: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const rows = cols === 0 ? 0 : codes.length / cols, rowBytes = wordBytes(cols, bits);
  const packed = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const first = row * cols, begin = row * rowBytes;
    if (bits === 8) packed.set(codes.subarray(first, first + cols), begin);
    else {
      for (let col = 0; col < cols; col++) {
        packed[begin + (col >>> 1)] |= codes[first + col] << (col & 1) * 4;
      }
    }
  }
  return packed;
}

/**
 * Reverses {@link packRows}.
 *
 * @param packed the bytes of I32 (rows, ⌈cols·bits/32⌉)
 * @returns codes (rows, cols)
 */
export function unpackRows(packed: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const rowBytes = wordBytes(cols, bits), rows = rowBytes === 0 ? 0 : packed.length / rowBytes;
  const codes = new Uint8Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const first = row * cols, begin = row * rowBytes;
    if (bits === 8) codes.set(packed.subarray(begin, begin + cols), first);
    else {
      for (let col = 0; col < cols; col++) {
        codes[first + col] = packed[begin + (col >>> 1)] >>> (col & 1) * 4 & 15;
      }
    }
  }
  return codes;
}

/**
 * Packs every column of `codes` (rows, cols) into words.
 *
 * @returns the bytes of I32 (⌈rows·bits/32⌉, cols)
 */
export function packColumns(codes: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const rows = cols === 0 ? 0 : codes.length / cols;
  const packed = new Uint8Array(wordBytes(rows, bits) * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      packed[byteInColumns(row, col, cols, bits)] |= codes[row * cols + col] << row * bits % 8;
    }
  }
  return packed;
}

/**
 * Reverses {@link packColumns}.
 *
 * @param packed the bytes of I32 (⌈rows·bits/32⌉, cols)
 * @returns codes (rows, cols)
 */
export function unpackColumns(
  packed: Uint8Array,
  rows: number,
  cols: number,
  bits: number,
): Uint8Array<ArrayBuffer> {
  const codes = new Uint8Array(rows * cols), largest = 2 ** bits - 1;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      codes[row * cols + col] = packed[byteInColumns(row, col, cols, bits)] >>> row * bits % 8 & largest;
    }
  }
  return codes;
}

/** Returns the index of the byte that contains code (row, col) in the result of {@link packColumns}. */
function byteInColumns(row: number, col: number, cols: number, bits: number): number {
  const firstBit = row * bits;
  return (Math.floor(firstBit / 32) * cols + col) * WORD_BYTES + Math.floor(firstBit % 32 / 8);
}
