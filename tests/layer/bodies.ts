/**
 * Functions that build request bodies for tests: tensors, safetensors files, and streams of a file's bytes in
 * odd chunks.
 */

import { encode } from "../../src/tensor/safetensors/encode.ts";
import { type Dtype, type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** Makes a tensor from f32 values, which are rounded to `dtype`. */
export function floats(dtype: FloatDtype, shape: number[], values: Float32Array): HostTensor {
  return { dtype, shape, data: floatsToBytes(values, dtype) };
}

/** Makes a tensor from its bytes. */
export function bytes(dtype: Dtype, shape: number[], data: Uint8Array<ArrayBuffer>): HostTensor {
  return { dtype, shape, data };
}

/** Packs the upper triangle of an (n, n) matrix, row by row. */
export function packUpper(matrix: Float32Array, n: number): Float32Array {
  const packed = new Float32Array((n * (n + 1)) / 2);
  for (let i = 0, at = 0; i < n; at += n - i, i++) packed.set(matrix.subarray(i * n + i, (i + 1) * n), at);
  return packed;
}

/**
 * Packs (rows, cols) bytes of 0 or 1 into (rows, ⌈cols/8⌉) bytes of bits, the least significant bit first.
 */
export function packBits(entries: Uint8Array, rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const rowBytes = Math.ceil(cols / 8), packed = new Uint8Array(rows * rowBytes);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) packed[r * rowBytes + (c >> 3)] |= entries[r * cols + c] << (c & 7);
  }
  return packed;
}

/** Encodes a safetensors file with the tensors in the given order. */
export function file(tensors: Record<string, HostTensor>): Uint8Array<ArrayBuffer> {
  return encode(tensors);
}

/**
 * Streams `whole` in chunks of `size` bytes. `closed` becomes true when the reader has finished or cancelled
 * the stream.
 */
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
