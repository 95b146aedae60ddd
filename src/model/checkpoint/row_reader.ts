/** Reads rows of a tensor as f32, in any order. */

import { BYTES_PER_ELEMENT, bytesToFloats } from "../../tensor/dtype.ts";
import { checkTensor, type TensorSource } from "./tensor_source.ts";

/** Returns the row of the checkpoint that is read as row `row`. */
export type RowOrder = (row: number) => number;

/** Returns the maximal ranges of consecutive rows of the checkpoint that are read as the rows from `first` to `end − 1`, in their order. */
export function rowRanges(
  order: RowOrder | undefined,
  first: number,
  end: number,
): [first: number, end: number][] {
  if (!order) return [[first, end]];
  const ranges: [number, number][] = [];
  for (let row = first; row < end; row++) {
    const source = order(row), last = ranges.at(-1);
    if (last?.[1] === source) last[1]++;
    else ranges.push([source, source + 1]);
  }
  return ranges;
}

/** The values that programs read and convert at a time. */
const CHUNK_VALUES = 1 << 20;

/** Returns the number of rows of `cols` values that are read at a time. */
export function chunkRows(cols: number): number {
  return Math.max(1, Math.floor(CHUNK_VALUES / cols));
}

/** Reads the values of the rows from `first` to `end − 1`, (rows, cols) f32. */
export type ReadRows = (first: number, end: number) => Promise<Float32Array>;

/**
 * Returns the reader of a tensor.
 * @param shape the shape of the tensor in the checkpoint
 * @param cols the values of a row, by default the last extent
 * @param isTransposed whether the checkpoint stores the tensor as (cols, rows). Each call then reads the whole tensor
 * @throws {ModelError} if the tensor has another shape, or no float dtype
 */
export function rowReader(
  weights: TensorSource,
  name: string,
  shape: readonly number[],
  { cols = shape.at(-1)!, order, isTransposed }: {
    readonly cols?: number;
    readonly order?: RowOrder;
    readonly isTransposed?: boolean;
  } = {},
): ReadRows {
  const dtype = checkTensor(weights, name, shape);
  const bytes = BYTES_PER_ELEMENT[dtype] * cols;
  const read = async (first: number, end: number) =>
    bytesToFloats(await weights.read(name, first * bytes, (end - first) * bytes), dtype);
  if (isTransposed) {
    return async (first, end) => {
      const stored = shape[1], whole = await read(0, stored);
      const values = new Float32Array((end - first) * cols);
      for (let row = first, at = 0; row < end; row++) {
        const column = order?.(row) ?? row;
        for (let col = 0; col < cols; col++) values[at++] = whole[col * stored + column];
      }
      return values;
    };
  }
  return async (first, end) => {
    const values = new Float32Array((end - first) * cols);
    let at = 0;
    for (const range of rowRanges(order, first, end)) {
      const part = await read(...range);
      values.set(part, at);
      at += part.length;
    }
    return values;
  };
}
