/** Matrix products with operands inside of larger buffers, and their errors in comparison with float64. */

import type { Backend } from "../../src/device/backend.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/device/kernels/gemm.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { assertSame } from "./assert_same.ts";
import { downloadF32, upload } from "./device.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";

/** A kernel with the contract of a product, and the operands that it takes transposed. */
export interface ProductKernel {
  readonly kernel: typeof gemmNN;
  readonly transA: boolean;
  readonly transB: boolean;
}

/** The three kernels of `gemm.ts`. */
export const GEMMS: readonly ProductKernel[] = [
  { kernel: gemmNN, transA: false, transB: false },
  { kernel: gemmNT, transA: false, transB: true },
  { kernel: gemmTN, transA: true, transB: false },
];

/** C ← alpha·op(A)·op(B) + beta·C. Lists of three numbers are for A, B and C. */
export interface Product {
  readonly size: readonly [m: number, n: number, k: number];
  /** @default 1 */
  readonly alpha?: number;
  /** With 0, C is NaN before the product. @default 0 */
  readonly beta?: number;
  /** With 1 + d, only the elements (i, j) with i ≤ j + d are needed. @default 0 */
  readonly upper?: number;
  /** The elements before each operand. @default [0, 0, 0] */
  readonly offsets?: readonly [number, number, number];
  /** The elements between two rows. @default [0, 0, 0] */
  readonly padding?: readonly [number, number, number];
  /** The fractions of zeros in A and B. @default [0, 0] */
  readonly zeros?: readonly [number, number];
  /** Row i of op(A) is multiplied by the i-th of these numbers, in turn, and the columns of op(B) too. @default [1] */
  readonly scales?: readonly number[];
  /** The rounding of the operands A and B in the product that the result is compared with. @default no rounding */
  readonly round?: (value: number) => number;
}

/** Returns a (rows, cols) operand, surrounded by NaN so that a kernel that uses elements outside of it fails. */
function operand(rows: number, cols: number, offset: number, padding: number, zeros: number, seed: number) {
  const ld = cols + padding, next = uniform(seed + 100);
  const values = new Float32Array(offset + rows * ld + 5).fill(NaN);
  normals(rows * cols, seed).forEach((value, i) => {
    values[offset + Math.floor(i / cols) * ld + i % cols] = next() < zeros ? 0 : value;
  });
  return { values, offset, ld };
}

/**
 * Runs a product, and checks that nothing outside of C is written.
 * @returns the needed elements of C, and their errors, each divided by the sum of the magnitudes of the element's terms
 */
export async function runProduct(
  backend: Backend,
  { kernel, transA, transB }: ProductKernel,
  product: Product,
): Promise<{ elements: number[]; errors: number[] }> {
  const { size, alpha = 1, beta = 0, upper = 0, zeros = [0, 0], scales = [1] } = product, [m, n, k] = size;
  const { offsets = [0, 0, 0], padding = [0, 0, 0] } = product;
  const a = operand(transA ? k : m, transA ? m : k, offsets[0], padding[0], zeros[0], 1);
  const b = operand(transB ? n : k, transB ? k : n, offsets[1], padding[1], zeros[1], 2);
  const c = operand(m, n, offsets[2], padding[2], 0, 3);
  for (let p = 0; p < k; p++) {
    const scale = ({ values, offset, ld }: typeof a, isTransposed: boolean, i: number) =>
      values[offset + (isTransposed ? p * ld + i : i * ld + p)] *= scales[i % scales.length];
    for (let i = 0; i < m; i++) scale(a, transA, i);
    for (let j = 0; j < n; j++) scale(b, !transB, j);
  }
  if (beta === 0) c.values.fill(NaN);
  const buffers = {
    a: upload(backend, a.values),
    b: upload(backend, b.values),
    c: upload(backend, c.values),
  };
  const place = {
    a_offset: a.offset,
    lda: a.ld,
    b_offset: b.offset,
    ldb: b.ld,
    c_offset: c.offset,
    ldc: c.ld,
  };
  backend.dispatch(kernel, buffers, { m, n, k, ...place, alpha, beta, upper });
  const result = await downloadF32(backend, buffers.c);
  for (const buffer of Object.values(buffers)) buffer.destroy();

  const round = (values: Float32Array) => product.round ? values.map(product.round) : values;
  const left = { ...a, values: round(a.values), transposed: transA };
  const right = { ...b, values: round(b.values), transposed: transB };
  const expected = referenceGemm(size, left, right, c, alpha, beta);
  const elements: number[] = [], errors: number[] = [], outside = result.slice(), before = c.values.slice();
  expected.product.forEach((value, at) => {
    const i = Math.floor(at / n), j = at % n, place = c.offset + i * c.ld + j;
    outside[place] = before[place] = 0;
    if (upper > 0 && i > j + upper - 1) return;
    elements.push(result[place]);
    errors.push(Math.abs(result[place] - value) / (expected.magnitude[at] || 1));
  });
  assertSame(outside, before, `${kernel.name} ${size.join("×")}: elements outside of C`);
  return { elements, errors };
}
