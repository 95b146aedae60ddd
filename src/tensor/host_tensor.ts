/** Tensors in host memory (not on a GPU): dense ones, and weights that were rounded to a grid. */

import type { Dtype } from "./dtype.ts";

/** A dense row-major tensor in host memory. */
export interface HostTensor {
  /** The type of the elements. */
  readonly dtype: Dtype;
  /** The extents, outermost first. `[]` is the shape of a scalar. */
  readonly shape: readonly number[];
  /** The raw little-endian elements in row-major order. The length is exactly product(shape) · bytes per element. */
  readonly data: Uint8Array<ArrayBuffer>;
}

export function copyTensor({ dtype, shape, data }: HostTensor): HostTensor {
  return { dtype, shape, data: data.slice() };
}

/** Returns the bytes of an F32 tensor as numbers: a view if the bytes are 4-byte aligned, and otherwise a copy. */
export function asFloat32(data: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  return new Float32Array(data.slice().buffer);
}

/**
 * A quantised weight with `rows` rows and `cols` columns, as `POST /v1/layers` returns it. Entry (i, j) is
 * (code − zero)·scale, with the scale and the zero of row i and of the group that contains column j. A pruned entry has
 * the code of its zero, so it is exactly 0.
 */
export interface QuantizedWeight {
  /** The codes: U8 (rows, cols), from 0 to 2^bits − 1. */
  readonly codes: HostTensor;
  /** The distance between neighbouring values of the grid: F32 (rows, groups). */
  readonly scales: HostTensor;
  /**
   * The code of the value 0: F32 (rows, groups). All values are integers from 0 to 2^bits − 1, except in grids
   * that do not contain 0, whose scales have two levels.
   */
  readonly zeros: HostTensor;
}
