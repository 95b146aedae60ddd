/**
 * The products of a model's forward and backward passes and of its statistics. They are the products of `gemm.ts` with
 * a weaker contract, so that a GPU may compute them on its matrix units (tensor cores).
 */

import { gemmCases, gemmNN, gemmNT, gemmTN } from "./gemm.ts";
import { defineKernel, type ShaderVariant } from "./kernel.ts";
import { signed, sumRoundings } from "./kernel_case.ts";
import code from "../../../shaders/product.wgsl" with { type: "text" };

type GemmKernel = typeof gemmNT;

export const MATRIX_VARIANT = "matrix";

/** The edge of the patch of C that one workgroup of `product.wgsl` computes. */
const PATCH = 128;

/**
 * Declares the kernel `name` with the parameters and the shaders of `gemm`. An implementation may first round each
 * element x of op(A) or op(B) to the sum of two f16 numbers, scaled by a power of two. The rounding error is at most
 * 2⁻²²·|x| + 2⁻³²·y, where y is the largest magnitude in the row of op(A) or the column of op(B) that contains x. An
 * adapter whose `rounds` is `bfloat16` may round x to bfloat16 instead, with an error of at most 2⁻⁸·|x|. The sums are
 * f32. No part of a factorisation may use these kernels, because a factorisation amplifies errors.
 */
function declareProduct(name: string, gemm: GemmKernel, seed: number): GemmKernel {
  const matrix: ShaderVariant<keyof GemmKernel["params"]> = {
    code,
    entryPoint: name,
    usesMatrixUnits: true,
    workgroupBytes: 29_696,
    grid: ({ m, n }) => [Math.ceil(n / PATCH), Math.ceil(m / PATCH), 1],
  };
  return defineKernel({
    ...gemm,
    name,
    variants: { ...gemm.variants, [MATRIX_VARIANT]: matrix },
    rounded: { count: 2 },
    cases: () => [...gemmCases(seed), longSums(gemm === gemmTN, gemm === gemmNT)],
  });
}

/** C ← α·A·B + β·C. A is stored as (m, k), B as (k, n). */
export const productNN: GemmKernel = declareProduct("product_nn", gemmNN, 32);

/** C ← α·A·Bᵀ + β·C. A is stored as (m, k), B as (n, k). */
export const productNT: GemmKernel = declareProduct("product_nt", gemmNT, 30);

/** C ← α·Aᵀ·B + β·C. A is stored as (k, m), B as (k, n). */
export const productTN: GemmKernel = declareProduct("product_tn", gemmTN, 31);

/** The number of inner columns of a long sum, which matrix units compute in three parts (`shaders/product.wgsl`). */
const LONG_K = 4113;

/** Sums that are longer than matrix units may add up, with rows and columns of different magnitudes. */
function longSums(transA: boolean, transB: boolean): ReturnType<typeof gemmCases>[number] {
  const size = { m: 3, n: 5, k: LONG_K, lda: transA ? 3 : LONG_K, ldb: transB ? LONG_K : 5, ldc: 5 };
  return {
    feature: "long sums",
    params: { ...size, a_offset: 0, b_offset: 0, c_offset: 0, alpha: -1.25, beta: 0.5, upper: 0 },
    buffers: () => ({
      a: signed(3 * LONG_K, 320),
      b: signed(5 * LONG_K, 321).map((value) => value * 3e4),
      c: signed(15, 322),
    }),
    roundings: { c: sumRoundings(LONG_K) },
  };
}
