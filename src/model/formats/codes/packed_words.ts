/**
 * Packs codes into I32 words, unpacks and dequantises them. The words are little-endian, so code i of a sequence
 * begins at bit i·bits of the bytes, counted from the least significant bit of each byte. A code may extend over two bytes.
 */

import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { CodedWeight, RowGrids } from "../format.ts";

/** The bits of codes to which the solver rounds, the default first. */
export const PACKED_BITS: readonly number[] = [4, 8, 2, 3, 5, 6, 7];

export const WORD_BYTES = 4;

/** Returns the number of I32 words that hold `count` codes of `bits` bits. */
export function wordCount(count: number, bits: number): number {
  return Math.ceil(count * bits / 32);
}

/** Packs the rows of `codes` (rows, cols). @returns the bytes of I32 (rows, ⌈cols·bits/32⌉) */
export function packRows(codes: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const rows = cols === 0 ? 0 : codes.length / cols, rowBytes = wordCount(cols, bits) * WORD_BYTES;
  const packed = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    for (let col = 0, bit = 0; col < cols; col++, bit += bits) {
      const at = row * rowBytes + (bit >>> 3), shifted = codes[row * cols + col] << (bit & 7);
      packed[at] |= shifted;
      packed[at + 1] |= shifted >>> 8;
    }
  }
  return packed;
}

/** Reverses {@link packRows}. */
export function unpackRows(packed: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const rowBytes = wordCount(cols, bits) * WORD_BYTES, rows = rowBytes === 0 ? 0 : packed.length / rowBytes;
  const codes = new Uint8Array(rows * cols), largest = 2 ** bits - 1;
  for (let row = 0; row < rows; row++) {
    for (let col = 0, bit = 0; col < cols; col++, bit += bits) {
      const at = row * rowBytes + (bit >>> 3);
      codes[row * cols + col] = (packed[at] | packed[at + 1] << 8) >>> (bit & 7) & largest;
    }
  }
  return codes;
}

/** Packs the columns of `codes` (rows, cols). @returns the bytes of I32 (⌈rows·bits/32⌉, cols) */
export function packColumns(
  codes: Uint8Array<ArrayBuffer>,
  cols: number,
  bits: number,
): Uint8Array<ArrayBuffer> {
  const rows = cols === 0 ? 0 : codes.length / cols;
  const words = new Uint32Array(packRows(transpose(codes, rows), rows, bits).buffer);
  return new Uint8Array(transpose(words, cols).buffer);
}

/** Reverses {@link packColumns}. */
export function unpackColumns(
  packed: Uint8Array,
  rows: number,
  cols: number,
  bits: number,
): Uint8Array<ArrayBuffer> {
  const words = transpose(new Uint32Array(packed.slice().buffer), wordCount(rows, bits));
  return transpose(unpackRows(new Uint8Array(words.buffer), rows, bits), cols);
}

type Matrix = Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** Returns the transpose of a matrix with `rows` rows. */
export function transpose<M extends Matrix>(matrix: M, rows: number): M {
  const cols = matrix.length / rows, transposed = matrix.slice() as M;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) transposed[col * rows + row] = matrix[row * cols + col];
  }
  return transposed;
}

/**
 * Computes (code − zero)·scale for every entry of some rows. The difference has at most 8 significant bits, and a scale in F16
 * or BF16 has at most 11, so their product is exact in f32. If the caller rounds the product to the dtype of the scale, it gets
 * the same bits as the compressed-tensors library, which multiplies in this dtype. An entry whose code equals its zero becomes +0.
 * @param codes the codes of the rows: (rows, cols), for any number of rows
 */
export function dequantizeRows(
  codes: Uint8Array,
  { scales, zeros }: RowGrids,
  shape: Pick<CodedWeight, "cols" | "groupSize">,
): Float32Array<ArrayBuffer> {
  const { cols } = shape, groups = gridsPerRow(shape, shape.cols), groupSize = shape.groupSize || cols;
  const values = new Float32Array(codes.length);
  for (let begin = 0, grid = 0; begin < codes.length; begin += cols) {
    for (let group = 0; group < groups; group++, grid++) {
      const scale = scales[grid], zero = zeros[grid];
      const end = begin + Math.min(cols, (group + 1) * groupSize);
      // A negative scale makes −0 of the weight 0, and adding 0 makes 0 of −0.
      for (let i = begin + group * groupSize; i < end; i++) values[i] = (codes[i] - zero) * scale + 0;
    }
  }
  return values;
}
