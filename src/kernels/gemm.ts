/**
 * C ← α·op(A)·op(B) + β·C in f32, the product everything else is blocked down to. Three kernels, by which
 * operand is transposed; `upper` lets a symmetric product do half the work.
 */

import { defineKernel, type Kernel, type Scalar, type ShaderVariant } from "./kernel.ts";
import { loop, MAX_LOOP_ITERATIONS, sequence } from "./loop_count.ts";
import code from "../../shaders/gemm.wgsl" with { type: "text" };
import softwareCode from "../../shaders/gemm_software.wgsl" with { type: "text" };

/**
 * C is (m, n), op(A) (m, k), op(B) (k, n). Offsets are in elements; `ld*` is the distance between the rows of
 * the operand as stored. With β = 0, C is not read. With `upper` = 1 only elements i ≤ j of C need be computed
 * (counted from `c_offset`); the others may or may not be. C must not overlap A or B. An implementation may leave zeros of A or B
 * out, so that 0·NaN and 0·∞ may count as 0.
 */
const params = {
  m: "u32",
  n: "u32",
  k: "u32",
  a_offset: "u32",
  lda: "u32",
  b_offset: "u32",
  ldb: "u32",
  c_offset: "u32",
  ldc: "u32",
  alpha: "f32",
  beta: "f32",
  upper: "u32",
} as const satisfies Record<string, Scalar>;

type GemmKernel = Kernel<"a" | "b" | "c", keyof typeof params>;

/** The block of C a workgroup of `gemm_software.wgsl` computes. */
const SOFTWARE_ROWS = 8;
const SOFTWARE_COLS = 128;

/** The largest k of a product on a software adapter, under `MAX_LOOP_ITERATIONS` with the loops that store C. */
export const MAX_SOFTWARE_K = MAX_LOOP_ITERATIONS - 128;

/** `gemm.wgsl` with tiles of (rows, cols), each 64 or 128: large ones read memory less often, small ones fill a GPU with small products. */
function tiled(entryPoint: string, rows: number, cols: number): ShaderVariant<keyof typeof params> {
  return {
    code,
    entryPoint,
    constants: { ROWS: rows, COLS: cols, INVOCATIONS: rows * cols / 64 },
    grid: (p) => [Math.ceil(p.n / cols), Math.ceil(p.m / rows), 1],
  };
}

function declareGemm(name: string): GemmKernel {
  return defineKernel({
    name,
    bindings: { a: "read", b: "read", c: "read_write" },
    params,
    shader: tiled(name, 128, 128),
    variants: {
      "64x64": tiled(name, 64, 64),
      "64x128": tiled(name, 64, 128),
      "128x64": tiled(name, 128, 64),
    },
    softwareShader: {
      code: softwareCode,
      entryPoint: name,
      grid: (p) => [Math.ceil(p.n / SOFTWARE_COLS), Math.ceil(p.m / SOFTWARE_ROWS), 1],
      // One of the two loops over k runs, for an aligned or an unaligned B. Both calls of `store` have a loop over a quad.
      loops: (p) => sequence(loop(p.k), loop(0), loop(SOFTWARE_ROWS, loop(4), loop(4))),
    },
  });
}

/** C ← α·A·B + β·C; A stored (m, k), B stored (k, n). */
export const gemmNN: GemmKernel = declareGemm("gemm_nn");

/** C ← α·A·Bᵀ + β·C; A stored (m, k), B stored (n, k). */
export const gemmNT: GemmKernel = declareGemm("gemm_nt");

/** C ← α·Aᵀ·B + β·C; A stored (k, m), B stored (k, n). */
export const gemmTN: GemmKernel = declareGemm("gemm_tn");
