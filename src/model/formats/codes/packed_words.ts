/**
 * Packs the codes of quantised weights into the I32 words of `layout.ts`, and reads, unpacks and dequantises them. The words are
 * little-endian, so code i of a sequence begins at bit i·bits of the bytes, counted from the least significant bit of each byte.
 */

import { BYTES_PER_ELEMENT, bytesToFloats } from "../../../tensor/dtype.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { TensorSource } from "../../checkpoint/tensor_source.ts";
import { type QuantizedParts, type QuantizedShape, wordCount } from "./packed_layout.ts";

const WORD_BYTES = 4;

function wordBytes(count: number, bits: number): number {
  return wordCount(count, bits) * WORD_BYTES;
}

/** Packs the rows of `codes` (rows, cols). @returns the bytes of I32 (rows, ⌈cols·bits/32⌉) */
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

/** Reverses {@link packRows}. */
function unpackRows(packed: Uint8Array, cols: number, bits: number): Uint8Array<ArrayBuffer> {
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

/** Packs the columns of `codes` (rows, cols). @returns the bytes of I32 (⌈rows·bits/32⌉, cols) */
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

/** Reverses {@link packColumns}. */
function unpackColumns(
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

/** The grids of some rows. There is one grid per row and group of columns. */
export interface RowGrids {
  /** The distance between neighbouring values of each grid: (rows, groups). */
  readonly scales: Float32Array;
  /** The code of the value 0 in each grid: (rows, groups), from 0 to 2^bits − 1. */
  readonly zeros: Uint8Array;
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
  shape: Pick<QuantizedShape, "cols" | "groupSize">,
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

/** Reads the codes of the rows from `firstRow` to `endRow − 1`: (rows, cols). */
export async function readCodes(
  source: TensorSource,
  { names, cols, bits }: QuantizedParts,
  firstRow: number,
  endRow: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = wordBytes(cols, bits);
  const packed = await source.read(names.packed, firstRow * bytes, (endRow - firstRow) * bytes);
  return unpackRows(packed, cols, bits);
}

/** Reads the grids of the rows from `firstRow` to `endRow − 1`. */
export async function readGrids(
  source: TensorSource,
  parts: QuantizedParts,
  firstRow: number,
  endRow: number,
): Promise<RowGrids> {
  const { names, dtype } = parts, bytes = gridsPerRow(parts, parts.cols) * BYTES_PER_ELEMENT[dtype];
  const scales = await source.read(names.scale, firstRow * bytes, (endRow - firstRow) * bytes);
  return { scales: bytesToFloats(scales, dtype), zeros: await readZeros(source, parts, firstRow, endRow) };
}

/** Reads the zeros of some rows as codes: (rows, groups). */
async function readZeros(
  source: TensorSource,
  parts: QuantizedParts,
  firstRow: number,
  endRow: number,
): Promise<Uint8Array> {
  const { names, bits, symmetric } = parts, groups = gridsPerRow(parts, parts.cols);
  if (symmetric) return new Uint8Array((endRow - firstRow) * groups).fill(2 ** (bits - 1));
  // One word holds the zeros of several rows. The words at both ends may include rows outside of the range.
  const rowsPerWord = 32 / bits, firstWord = Math.floor(firstRow / rowsPerWord);
  const words = Math.ceil(endRow / rowsPerWord) - firstWord, wordRowBytes = groups * 4;
  const packed = await source.read(names.zeroPoint, firstWord * wordRowBytes, words * wordRowBytes);
  const firstRead = firstWord * rowsPerWord;
  const zeros = unpackColumns(packed, endRow - firstRead, groups, bits);
  return zeros.subarray((firstRow - firstRead) * groups);
}
