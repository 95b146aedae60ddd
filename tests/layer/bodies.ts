/** Request bodies for tests: tensors as safetensors, and their bytes in chunks of awkward sizes. */

import { encode } from "../../src/safetensors/encode.ts";
import { floatsToBytes } from "../../src/tensor/convert.ts";
import type { Dtype, FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** A tensor of f32 values, rounded to `dtype`. */
export function floats(dtype: FloatDtype, shape: number[], values: Float32Array): HostTensor {
  return { dtype, shape, data: floatsToBytes(values, dtype) };
}

/** A tensor of bytes. */
export function bytes(dtype: Dtype, shape: number[], data: Uint8Array<ArrayBuffer>): HostTensor {
  return { dtype, shape, data };
}

/** The packed upper triangle of an (n, n) matrix. */
export function packUpper(matrix: Float32Array, n: number): Float32Array {
  const packed = new Float32Array((n * (n + 1)) / 2);
  for (let i = 0, at = 0; i < n; at += n - i, i++) packed.set(matrix.subarray(i * n + i, (i + 1) * n), at);
  return packed;
}

/** (rows, ⌈cols/8⌉) bits from (rows, cols) bytes, least significant first. */
export function packBits(entries: Uint8Array, rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const rowBytes = Math.ceil(cols / 8), packed = new Uint8Array(rows * rowBytes);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) packed[r * rowBytes + (c >> 3)] |= entries[r * cols + c] << (c & 7);
  }
  return packed;
}

/** The file, tensors in the order given. */
export function file(tensors: Record<string, HostTensor>): Uint8Array<ArrayBuffer> {
  return encode(tensors);
}

/** `whole` in chunks of `size` bytes, and whether the reader let go of it. */
export function source(whole: Uint8Array, size = 997): AsyncIterable<Uint8Array> & { closed: boolean } {
  const state = {
    closed: false,
    async *[Symbol.asyncIterator]() {
      try {
        for (let at = 0; at < whole.length; at += size) {
          yield await Promise.resolve(whole.subarray(at, at + size));
        }
      } finally {
        state.closed = true;
      }
    },
  };
  return state;
}
