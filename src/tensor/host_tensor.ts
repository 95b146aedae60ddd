/**
 * The type of a tensor in host memory (not on a GPU), and a function that returns its bytes as f32 numbers.
 */

import type { Dtype } from "./dtype.ts";

/** A dense row-major tensor in host memory. */
export interface HostTensor {
  /** The type of the elements. */
  readonly dtype: Dtype;
  /** The extents, outermost first. `[]` is the shape of a scalar. */
  readonly shape: readonly number[];
  /**
   * The raw little-endian elements in row-major order. The length is exactly product(shape) · bytes per
   * element.
   */
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * Returns the bytes of an F32 tensor as numbers. The result is a view if the bytes are 4-byte aligned, and
 * otherwise a copy.
 */
export function asFloat32(data: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  return new Float32Array(data.slice().buffer);
}
