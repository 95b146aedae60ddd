/** Takes rows or columns of a matrix in host memory, and puts them back into their places. No element changes. */

import { BYTES_PER_ELEMENT } from "./dtype.ts";
import type { HostTensor } from "./host_tensor.ts";

/** Returns the given columns of a matrix. */
export function takeColumns(
  { dtype, shape: [rows, cols], data }: HostTensor,
  columns: ArrayLike<number>,
): HostTensor {
  const width = BYTES_PER_ELEMENT[dtype], taken = new Uint8Array(rows * columns.length * width);
  for (let r = 0, target = 0; r < rows; r++) {
    for (let c = 0; c < columns.length; c++, target += width) {
      const source = (r * cols + columns[c]) * width;
      for (let byte = 0; byte < width; byte++) taken[target + byte] = data[source + byte];
    }
  }
  return { dtype, shape: [rows, columns.length], data: taken };
}

/** Returns a matrix with `cols` columns: the columns of the given matrix at the places `columns`, and 0 elsewhere. */
export function placeColumns(
  { dtype, shape: [rows], data }: HostTensor,
  columns: ArrayLike<number>,
  cols: number,
): HostTensor {
  const width = BYTES_PER_ELEMENT[dtype], placed = new Uint8Array(rows * cols * width);
  for (let r = 0, source = 0; r < rows; r++) {
    for (let c = 0; c < columns.length; c++, source += width) {
      const target = (r * cols + columns[c]) * width;
      for (let byte = 0; byte < width; byte++) placed[target + byte] = data[source + byte];
    }
  }
  return { dtype, shape: [rows, cols], data: placed };
}

/** Returns the given rows of a matrix, or the given elements of a vector. */
export function takeRows(
  { dtype, shape: [rows, ...inner], data }: HostTensor,
  taken: ArrayLike<number>,
): HostTensor {
  const rowBytes = data.byteLength / rows, bytes = new Uint8Array(taken.length * rowBytes);
  for (let i = 0; i < taken.length; i++) {
    bytes.set(data.subarray(taken[i] * rowBytes, (taken[i] + 1) * rowBytes), i * rowBytes);
  }
  return { dtype, shape: [taken.length, ...inner], data: bytes };
}

/** Returns `matrix` with other values in the given rows. @param rows the new values, one row for each index */
export function placeRows(rows: HostTensor, indices: ArrayLike<number>, matrix: HostTensor): HostTensor {
  const rowBytes = matrix.data.byteLength / matrix.shape[0], data = matrix.data.slice();
  for (let i = 0; i < indices.length; i++) {
    data.set(rows.data.subarray(i * rowBytes, (i + 1) * rowBytes), indices[i] * rowBytes);
  }
  return { ...matrix, data };
}

/** Returns the indices of the columns that a layer keeps. @param kept U32 */
export function columnIndices({ data }: HostTensor): Uint32Array<ArrayBuffer> {
  return new Uint32Array(data.slice().buffer);
}
