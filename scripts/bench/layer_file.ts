/** The layer a bench solves: normal weights and a correlated Hessian, written once as the body of a request. */

import { encodeHeader } from "../../src/safetensors/encode.ts";
import { normals } from "../../tests/support/random.ts";

/**
 * Distance over which the correlation of two inputs halves. It falls as its reciprocal, the generalised Cauchy covariance with α = β = 1
 * (Gneiting & Schlather 2004), which is positive definite and, unlike an exponential, never underflows: there are no zeros to skip.
 */
const CORRELATION_LENGTH = 10;

/** Writes `weight` (rows, cols) and `hessian` (cols, cols), both F32, to `path` and returns its bytes. */
export async function writeLayerFile(path: string, rows: number, cols: number): Promise<number> {
  const header = encodeHeader([
    { name: "weight", dtype: "F32", shape: [rows, cols] },
    { name: "hessian", dtype: "F32", shape: [cols, cols] },
  ]);
  function* chunks() {
    yield header.bytes;
    for (let row = 0; row < rows; row++) yield new Uint8Array(normals(cols, row * 7919 + cols).buffer);
    for (let row = 0; row < cols; row++) yield new Uint8Array(hessianRow(row, cols).buffer);
  }
  await Deno.writeFile(path, ReadableStream.from(chunks()));
  return header.bytes.byteLength + header.dataBytes;
}

/** Row i of H: s_i·s_j/(1 + |i−j|/l), with input scales s that fall from 1 to 0.05. */
export function hessianRow(i: number, cols: number): Float32Array<ArrayBuffer> {
  const scale = (k: number) => 1 - (0.95 * k) / cols;
  const correlation = (distance: number) => 1 / (1 + distance / CORRELATION_LENGTH);
  return Float32Array.from(
    { length: cols },
    (_, j) => scale(i) * scale(j) * correlation(Math.abs(i - j)),
  );
}
