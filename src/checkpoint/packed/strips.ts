/** Weights taken a few whole rows at a time, so that packing needs memory for a piece of a weight and no more. */

import type { TensorSource } from "../tensor_source.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { asWords, type Words } from "./bitmask.ts";

/** Bytes of a weight handled at a time; one row where a row is longer. */
export const PIECE_BYTES = 16 << 20;

/** Rows `firstRow` … `firstRow + rows − 1`. */
export interface RowRange {
  readonly firstRow: number;
  readonly rows: number;
}

/** Divides (rows, cols) entries of `size` bytes into ranges of whole rows; none where there is no entry. */
export function* rowRanges(rows: number, cols: number, size: number): Generator<RowRange> {
  if (cols === 0) return;
  const most = Math.max(1, Math.floor(PIECE_BYTES / (cols * size)));
  for (let firstRow = 0; firstRow < rows; firstRow += most) {
    yield { firstRow, rows: Math.min(most, rows - firstRow) };
  }
}

/** The rows of a 2-D weight, in order. */
export async function* readStrips(
  source: TensorSource,
  name: string,
): AsyncGenerator<RowRange & { readonly words: Words }> {
  const { dtype, shape: [rows, cols] } = source.info(name);
  const size = BYTES_PER_ELEMENT[dtype];
  for (const range of rowRanges(rows, cols, size)) {
    const rowBytes = cols * size;
    const bytes = await source.read(name, range.firstRow * rowBytes, range.rows * rowBytes);
    yield { ...range, words: asWords(bytes, size) };
  }
}
