/**
 * The products of a model's forward pass and of its statistics. They are the products of `gemm.ts` with a weaker contract, so that a
 * GPU may compute them on its matrix units (tensor cores).
 */

import { gemmNT, gemmTN } from "./gemm.ts";
import { defineKernel, type ShaderVariant } from "./kernel.ts";
import code from "../../shaders/product.wgsl" with { type: "text" };

type GemmKernel = typeof gemmNT;

/** The name of the variant for GPUs with matrix units. */
export const MATRIX_VARIANT = "matrix";

/** The edge of the patch of C that one workgroup of `product.wgsl` computes. */
const PATCH = 128;

/**
 * Declares the kernel `name` with the parameters and the shaders of `gemm`. An implementation may first round each element x of
 * op(A) or op(B) to the sum of two f16 numbers, scaled by a power of two. The rounding error is at most 2⁻²²·|x| + 2⁻³²·y,
 * where y is the largest magnitude in the row of op(A) or the column of op(B) that contains x. No part of a factorisation may use
 * these kernels, because a factorisation amplifies errors.
 */
function declareProduct(name: string, gemm: GemmKernel): GemmKernel {
  const matrix: ShaderVariant<keyof GemmKernel["params"]> = {
    code,
    entryPoint: name,
    usesMatrixUnits: true,
    workgroupBytes: 29_696,
    grid: ({ m, n }) => [Math.ceil(n / PATCH), Math.ceil(m / PATCH), 1],
  };
  return defineKernel({ ...gemm, name, variants: { ...gemm.variants, [MATRIX_VARIANT]: matrix } });
}

/** C ← α·A·Bᵀ + β·C. A is stored as (m, k), B as (n, k). */
export const productNT: GemmKernel = declareProduct("product_nt", gemmNT);

/** C ← α·Aᵀ·B + β·C. A is stored as (k, m), B as (k, n). */
export const productTN: GemmKernel = declareProduct("product_tn", gemmTN);
