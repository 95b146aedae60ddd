/** Reads the codes and the grids of some rows of a weight in the layout `pack-quantized`. */

import { BYTES_PER_ELEMENT, bytesToFloats } from "../../../tensor/dtype.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { TensorSource } from "../tensor_source.ts";
import { type RowGrids, unpackColumns, unpackRows, wordBytes } from "./codes.ts";
import type { QuantizedParts } from "./quantized_parts.ts";

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
