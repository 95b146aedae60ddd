/** Parses the sizes of layers, and makes the layer that a bench solves: normally distributed weights and a correlated Hessian. */

import { InvalidArgumentError } from "commander";
import { encode, encodeHeader } from "../../../src/tensor/safetensors/encode.ts";
import { floatsToBytes } from "../../../src/tensor/dtype.ts";
import { normals } from "../../fixtures/random.ts";

/**
 * The distance between two inputs over which their correlation halves. The correlation is 1/(1 + distance/length), the
 * generalised Cauchy covariance with α = β = 1 (Gneiting & Schlather 2004). This function is positive definite. Unlike an
 * exponential, it never underflows, so the Hessian has no zeros that a solver could skip.
 */
const CORRELATION_LENGTH = 10;

/**
 * Writes the body of a request to `path`: a safetensors file with `weight` (rows, cols) F32 and `hessian` (cols, cols) F32.
 * The same sizes give the same bytes.
 * @returns the size of the file in bytes
 */
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

/**
 * Row i of H (cols, cols): H(i, j) = s_i·s_j/(1 + |i−j|/l). The scales s of the inputs fall from 1 to 0.05,
 * and l is the correlation length.
 */
export function hessianRow(i: number, cols: number): Float32Array<ArrayBuffer> {
  const scale = (k: number) => 1 - (0.95 * k) / cols;
  const correlation = (distance: number) => 1 / (1 + distance / CORRELATION_LENGTH);
  return Float32Array.from(
    { length: cols },
    (_, j) => scale(i) * scale(j) * correlation(Math.abs(i - j)),
  );
}

/**
 * Creates the body of a request: a safetensors file with `weight` (rows, cols) F16 and `hessian_upper` F32, the packed upper
 * triangle with cols·(cols+1)/2 elements.
 */
export function halfPrecisionLayer(rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const upper = new Float32Array(cols * (cols + 1) / 2);
  for (let row = 0, at = 0; row < cols; at += cols - row, row++) {
    upper.set(hessianRow(row, cols).subarray(row), at);
  }
  return encode({
    hessian_upper: { dtype: "F32", shape: [upper.length], data: new Uint8Array(upper.buffer) },
    weight: { dtype: "F16", shape: [rows, cols], data: floatsToBytes(normals(rows * cols, rows), "F16") },
  });
}

export type Size = readonly [rows: number, cols: number];

/** Parses a comma-separated list of sizes such as `768x768,768x3072`. @throws {InvalidArgumentError} if an entry is not ROWSxCOLS */
export function parseSizes(list: string): Size[] {
  return list.split(",").filter((size) => size !== "").map((size) => {
    const [, rows, cols] = /^(\d+)x(\d+)$/.exec(size) ?? [];
    if (!Number(rows) || !Number(cols)) throw new InvalidArgumentError(`${size} is not ROWSxCOLS`);
    return [Number(rows), Number(cols)];
  });
}
