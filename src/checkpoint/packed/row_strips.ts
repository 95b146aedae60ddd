/** Divides weights into strips of whole rows, so that packing needs memory for only one strip at a time. */

import type { TensorSource } from "../tensor_source.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { asWords, type Words } from "./bitmask.ts";

/** The largest size of a strip in bytes. A row that is longer than this is a strip of its own. */
export const PACKING_STRIP_BYTES = 16 << 20;

/** The rows from `firstRow` to `firstRow + rows − 1`. */
export interface RowRange {
  readonly firstRow: number;
  readonly rows: number;
}

/** Divides a matrix (rows, cols) of elements of `size` bytes into strips. An empty matrix has no strips. */
export function* rowRanges(rows: number, cols: number, size: number): Generator<RowRange> {
  if (cols === 0) return;
  const maxRows = Math.max(1, Math.floor(PACKING_STRIP_BYTES / (cols * size)));
  for (let firstRow = 0; firstRow < rows; firstRow += maxRows) {
    yield { firstRow, rows: Math.min(maxRows, rows - firstRow) };
  }
}

/** Reads the strips of the 2-D float weight `name` in order. */
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
