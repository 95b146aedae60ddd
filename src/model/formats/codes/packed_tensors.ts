/** The names of the tensors that store a weight in the format `pack-quantized`, and the reading of its codes and grids. */

import { BYTES_PER_ELEMENT, bytesToFloats } from "../../../tensor/dtype.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { TensorSource } from "../../checkpoint/tensor_source.ts";
import { type CodedWeight, type RowGrids, stemOf } from "../format.ts";
import { unpackColumns, unpackRows, WORD_BYTES, wordCount } from "./packed_words.ts";

/** The suffixes of the tensors' names, each of which replaces `.weight`. */
export const PACKED_SUFFIXES = {
  codes: ".weight_packed",
  scale: ".weight_scale",
  zeroPoint: ".weight_zero_point",
  shape: ".weight_shape",
} as const;

/** Returns the names of the tensors that store the weight `name`. */
export function packedNames(name: string): Record<keyof typeof PACKED_SUFFIXES, string> {
  const stem = stemOf(name), { codes, scale, zeroPoint, shape } = PACKED_SUFFIXES;
  return { codes: stem + codes, scale: stem + scale, zeroPoint: stem + zeroPoint, shape: stem + shape };
}

/** Reads the codes of the rows from `firstRow` to `endRow − 1`: (rows, cols). */
export async function readCodes(
  source: TensorSource,
  { name, cols, bits }: CodedWeight,
  firstRow: number,
  endRow: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = wordCount(cols, bits) * WORD_BYTES;
  const packed = await source.read(packedNames(name).codes, firstRow * bytes, (endRow - firstRow) * bytes);
  return unpackRows(packed, cols, bits);
}

/** Reads the grids of the rows from `firstRow` to `endRow − 1`. */
export async function readGrids(
  source: TensorSource,
  weight: CodedWeight,
  firstRow: number,
  endRow: number,
): Promise<RowGrids> {
  const { name, cols, dtype } = weight, bytes = gridsPerRow(weight, cols) * BYTES_PER_ELEMENT[dtype];
  const scales = await source.read(packedNames(name).scale, firstRow * bytes, (endRow - firstRow) * bytes);
  return { scales: bytesToFloats(scales, dtype), zeros: await readZeros(source, weight, firstRow, endRow) };
}

/** Reads the zeros of some rows as codes: (rows, groups). */
async function readZeros(
  source: TensorSource,
  weight: CodedWeight,
  firstRow: number,
  endRow: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { name, bits, cols, symmetric } = weight, groups = gridsPerRow(weight, cols);
  if (symmetric) return new Uint8Array((endRow - firstRow) * groups).fill(2 ** (bits - 1));
  // The zeros of 32 rows fill `bits` words. The first of these words may be for rows outside of the range.
  const firstRead = firstRow - firstRow % 32, firstWord = wordCount(firstRead, bits);
  const words = wordCount(endRow, bits) - firstWord, wordRowBytes = groups * WORD_BYTES;
  const packed = await source.read(
    packedNames(name).zeroPoint,
    firstWord * wordRowBytes,
    words * wordRowBytes,
  );
  const zeros = unpackColumns(packed, endRow - firstRead, groups, bits);
  return zeros.subarray((firstRow - firstRead) * groups);
}
