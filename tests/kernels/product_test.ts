/**
 * Tests the products of forward passes and statistics against float64 code: on every backend, and with the shader for matrix units,
 * whose units are replaced by loops.
 */

import { ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { defineKernel } from "../../src/kernels/kernel.ts";
import { MATRIX_VARIANT, productNT, productTN } from "../../src/kernels/product.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { withoutMatrixUnits } from "../support/matrix_shim.ts";
import { normals } from "../support/random.ts";
import { webgpuSuite } from "../webgpu/suite.ts";

const PRODUCTS = [
  { kernel: productNT, transA: false, transB: true },
  { kernel: productTN, transA: true, transB: false },
] as const;

/** Sizes m, n and k around the edges of units (16), quarters (64) and patches (128), and longer than a chain (2048). */
const SIZES = [[1, 1, 1], [7, 130, 2], [15, 17, 16], [65, 63, 33], [128, 129, 15], [130, 130, 130], [
  3,
  5,
  2049,
], [
  2,
  18,
  4113,
]] as const;

/** The shader for matrix units, with loops in place of the units. */
function shimmed({ kernel }: (typeof PRODUCTS)[number]) {
  const matrix = kernel.variants![MATRIX_VARIANT];
  return defineKernel({
    ...kernel,
    shader: { ...matrix, code: withoutMatrixUnits(matrix.code) },
    softwareShader: undefined,
    variants: undefined,
    variantFor: undefined,
  });
}

/**
 * Runs a product and returns the largest error of an element, in units of its bound. Without splitting, the bound is (k + 3)·2⁻²⁴
 * relative to Σ |a·b|. Each split adds 2⁻²² to it, and low·low, which is left out, another 2⁻²².
 * @param scales multiplies row i of op(A) by the i-th of these numbers, in turn, and the columns of op(B) too
 */
async function largestError(
  backend: Backend,
  { kernel, transA, transB }: (typeof PRODUCTS)[number],
  [m, n, k]: readonly [number, number, number],
  { upper = 0, beta = 0, odd = 0, scales = [1] }: {
    upper?: number;
    beta?: number;
    odd?: number;
    scales?: number[];
  },
  roundings: number,
): Promise<number> {
  const lda = (transA ? m : k) + odd, ldb = (transB ? k : n) + odd, ldc = n + odd;
  const a_offset = 3 * odd, b_offset = 5 * odd, c_offset = 7 * odd, alpha = -0.5;
  const a = normals(a_offset + lda * (transA ? k : m), 1), b = normals(b_offset + ldb * (transB ? n : k), 2);
  for (let p = 0; p < k; p++) {
    for (let i = 0; i < m; i++) {
      a[a_offset + (transA ? p * lda + i : i * lda + p)] *= scales[i % scales.length];
    }
    for (let j = 0; j < n; j++) {
      b[b_offset + (transB ? j * ldb + p : p * ldb + j)] *= scales[j % scales.length];
    }
  }
  const c = normals(c_offset + ldc * m, 3), before = c.slice();
  if (beta === 0) c.fill(NaN);
  const buffers = { a: upload(backend, a), b: upload(backend, b), c: upload(backend, c) };
  backend.dispatch(kernel, buffers, {
    m,
    n,
    k,
    a_offset,
    lda,
    b_offset,
    ldb,
    c_offset,
    ldc,
    alpha,
    beta,
    upper,
  });
  const result = await downloadF32(backend, buffers.c);
  for (const buffer of Object.values(buffers)) buffer.destroy();
  const { product, magnitude } = referenceGemm(
    [m, n, k],
    { values: a, offset: a_offset, ld: lda, transposed: transA },
    { values: b, offset: b_offset, ld: ldb, transposed: transB },
    { values: before, offset: c_offset, ld: ldc },
    alpha,
    beta,
  );
  let largest = 0;
  product.forEach((expected, at) => {
    const i = Math.floor(at / n), j = at % n;
    if (upper > 0 && i > j + upper - 1) return;
    const error = Math.abs(result[c_offset + i * ldc + j] - expected) /
      (roundings * 2 ** -24 * magnitude[at]);
    largest = Number.isNaN(error) ? Infinity : Math.max(largest, error);
  });
  for (let i = 0; i < m; i++) {
    for (let j = n; j < ldc && c_offset + i * ldc + j < c.length; j++) {
      ok(
        Object.is(result[c_offset + i * ldc + j], c[c_offset + i * ldc + j]),
        "the memory between rows is not written",
      );
    }
  }
  return largest;
}

async function testSizes(backend: Backend, product: (typeof PRODUCTS)[number], extraRoundings: number) {
  for (const size of SIZES) {
    const [m, , k] = size;
    for (const [odd, upper] of [[0, 0], [1, 1], [1, 1 + Math.floor(m / 2)]]) {
      const error = await largestError(
        backend,
        product,
        size,
        { upper, beta: odd, odd },
        k + 3 + extraRoundings,
      );
      ok(error <= 1, `${product.kernel.name} ${size.join("×")}: an error of ${error} bounds`);
    }
  }
}

eachBackend("products", (backend) => {
  for (const product of PRODUCTS) {
    it(`compute ${product.kernel.name}`, () => testSizes(backend(), product, 0));
  }
});

webgpuSuite("the shader for matrix units", (backend) => {
  for (const product of PRODUCTS) {
    const { name } = product.kernel, kernel = shimmed(product);
    const matrix = { ...product, kernel };

    it(`computes ${name}, with the units replaced by loops`, () => testSizes(backend(), matrix, 3 * 4));

    it(`computes ${name} with rows and columns of very different magnitudes`, async () => {
      const scales = [1e-15, 1e12, 1, 6e4, 1e-8];
      for (const beta of [0, 1]) {
        const error = await largestError(backend(), matrix, [20, 21, 40], { scales, beta }, 43 + 12);
        ok(error <= 1, `${name}: an error of ${error} bounds`);
      }
    });
  }
});
