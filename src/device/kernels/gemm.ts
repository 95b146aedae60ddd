/**
 * The matrix product C ← α·op(A)·op(B) + β·C in f32. op(X) is X or its transpose, but A and B are not both transposed.
 */

import { defineKernel, f32, type Kernel, type ShaderVariant, u32 } from "./kernel.ts";
import { filled, type KernelCase, signed, sumRoundings } from "./kernel_case.ts";
import code from "../../../shaders/gemm.wgsl" with { type: "text" };
import softwareCode from "../../../shaders/gemm_software.wgsl" with { type: "text" };

/**
 * C is (m, n), op(A) is (m, k) and op(B) is (k, n). Offsets are in elements. `lda`, `ldb` and `ldc` are the distances
 * between the rows of A, B and C in memory. C must not overlap A or B. With β = 0, C is not read.
 *
 * With `upper` = 1 + d, the caller needs only the elements C[i, j] with i ≤ j + d. The kernel may skip the others, so a
 * symmetric product (d = 0) takes about half the time. With `upper` = 0, all are needed. An implementation may skip
 * zeros of A or B, so 0·NaN and 0·∞ may count as 0.
 */
const params = {
  ...u32("m", "n", "k", "a_offset", "lda", "b_offset", "ldb", "c_offset", "ldc"),
  ...f32("alpha", "beta"),
  ...u32("upper"),
};

type GemmParams = Readonly<Record<keyof typeof params, number>>;

type GemmKernel = Kernel<"a" | "b" | "c", keyof typeof params>;

/** The numbers of rows and columns of C that one workgroup of `gemm_software.wgsl` computes. */
const SOFTWARE_ROWS = 8;
const SOFTWARE_COLS = 128;

/**
 * Declares `gemm.wgsl` with workgroups that each compute (rows, cols) elements of C. `rows` and `cols` are 64 or 128.
 * Larger workgroups read memory less often. With smaller workgroups, a small product uses more cores of the GPU.
 */
function hardwareShader(entryPoint: string, rows: number, cols: number): ShaderVariant<keyof typeof params> {
  return {
    code,
    entryPoint,
    constants: { ROWS: rows, COLS: cols, INVOCATIONS: rows * cols / 64 },
    grid: (p) => [Math.ceil(p.n / cols), Math.ceil(p.m / rows), 1],
  };
}

/** The variants for hardware, from the largest patch to the smallest. `discrete` is the kernel's `shader`. */
const PATCHES: Readonly<Record<string, readonly [rows: number, cols: number]>> = {
  discrete: [128, 128],
  "64x128": [64, 128],
  "128x64": [128, 64],
  "64x64": [64, 64],
};

/**
 * The workgroups that keep a whole GPU busy: two for each of the 132 processors of an NVIDIA H100. WebGPU does not say
 * how many processors a GPU has. A smaller GPU is busy with fewer workgroups, and loses little by the smaller patches.
 */
const ENOUGH_WORKGROUPS = 264;

/**
 * Returns the number of workgroups that compute something if each has a patch of (rows, cols) elements of C. A
 * workgroup whose patch contains no element that the caller needs returns at once, and does not count.
 */
export function countPatches(
  { m, n, upper }: Pick<GemmParams, "m" | "n" | "upper">,
  rows: number,
  cols: number,
): number {
  const across = Math.ceil(n / cols);
  if (upper === 0) return across * Math.ceil(m / rows);
  let count = 0;
  for (let i = 0; i < m; i += rows) {
    count += Math.max(0, across - Math.max(0, Math.floor((i - (upper - 1)) / cols)));
  }
  return count;
}

/** Returns the variant with the largest patches that keep the GPU busy, or else the variant with the most patches. */
function variantFor(product: GemmParams): string | undefined {
  for (const [name, [rows, cols]] of Object.entries(PATCHES)) {
    if (countPatches(product, rows, cols) >= ENOUGH_WORKGROUPS) return name === "discrete" ? undefined : name;
  }
  return "64x64";
}

/** @param seed of the operands of the cases */
function declareGemm(name: string, seed: number): GemmKernel {
  return defineKernel({
    name,
    bindings: { a: "read", b: "read", c: "read_write" },
    params,
    shader: hardwareShader(name, 128, 128),
    variants: {
      "64x64": hardwareShader(name, 64, 64),
      "64x128": hardwareShader(name, 64, 128),
      "128x64": hardwareShader(name, 128, 64),
    },
    variantFor,
    cases: () => gemmCases(seed),
    softwareShader: {
      code: softwareCode,
      entryPoint: name,
      grid: (p) => [Math.ceil(p.n / SOFTWARE_COLS), Math.ceil(p.m / SOFTWARE_ROWS), 1],
    },
  });
}

/** C ← α·A·B + β·C. A is stored as (m, k), B as (k, n). */
export const gemmNN: GemmKernel = declareGemm("gemm_nn", 1);

/** C ← α·A·Bᵀ + β·C. A is stored as (m, k), B as (n, k). */
export const gemmNT: GemmKernel = declareGemm("gemm_nt", 2);

/** C ← α·Aᵀ·B + β·C. A is stored as (k, m), B as (k, n). */
export const gemmTN: GemmKernel = declareGemm("gemm_tn", 3);

/** The sizes of the cases need several workgroups and slices, some of them partly full. `LD` is a multiple of 4. */
const M = 133, N = 131, K = 70, LD = 140;

/** Returns the operands of a product. With `sparse`, only every eighth row of A and B differs from 0. */
function productOperands(seed: number, sparse = false) {
  const a = signed(LD * LD + 1, seed), b = signed(LD * LD + 1, seed + 1);
  if (sparse) { for (let i = 0; i < a.length; i++) if (Math.floor(i / LD) % 8 || i % 8) a[i] = 0; }
  return { a, b, c: signed(LD * LD + 1, seed + 2) };
}

/** The cases of a product, whose operands come from the seeds 10·seed … 10·seed + 10. */
export function gemmCases(seed: number): KernelCase<"a" | "b" | "c", keyof typeof params>[] {
  const product = {
    m: M,
    n: N,
    k: K,
    a_offset: 1,
    lda: LD,
    b_offset: 0,
    ldb: LD,
    c_offset: 1,
    ldc: LD,
    alpha: -1.25,
    upper: 0,
  };
  return [
    {
      feature: "aligned rows",
      params: { ...product, beta: 0.5 },
      buffers: () => productOperands(10 * seed),
      roundings: { c: sumRoundings(K) },
    },
    {
      feature: "unaligned rows, β = 0",
      params: { ...product, m: 37, k: 131, b_offset: 1, beta: 0 },
      buffers: () => ({ ...productOperands(10 * seed + 3), c: filled(40 * LD, NaN) }),
      roundings: { c: sumRoundings(131) },
      includes: { c: (i) => i > 0 && Math.floor((i - 1) / LD) < 37 && (i - 1) % LD < N },
    },
    {
      feature: "mostly zeros",
      params: { ...product, beta: 1 },
      buffers: () => productOperands(10 * seed + 6, true),
      roundings: { c: sumRoundings(K) },
    },
    {
      feature: "upper triangle",
      params: { ...product, m: 131, beta: 0.5, upper: 1 },
      buffers: () => productOperands(10 * seed + 8),
      roundings: { c: sumRoundings(K) },
      includes: { c: (i) => i > 0 && Math.floor((i - 1) / LD) <= (i - 1) % LD },
    },
  ];
}
