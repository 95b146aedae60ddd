/** A tensor in host memory: its dtype, its shape and its raw little-endian bytes. It does no arithmetic. */

import type { Dtype } from "./dtype.ts";

/** A dense row-major tensor in host memory. */
export interface HostTensor {
  readonly dtype: Dtype;
  /** Extents, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** Raw little-endian elements, row-major; exactly `product(shape) · bytesPerElement` long. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A view of an F32 tensor's bytes as numbers. Copies only where the bytes are not 4-byte aligned. */
export function asFloat32(data: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  return new Float32Array(data.slice().buffer);
}
