/**
 * The cases of large products. A GPU computes a large product with larger patches than a small one (`src/kernels/gemm.ts`), by
 * another variant of the shader. Each case here uses one of these variants. Its result would be too long to compare, so a second,
 * small product multiplies the result by a vector, and the sums are compared.
 */

import { gemmNN, gemmNT, gemmTN } from "../../kernels/gemm.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { type CheckCase, sumRoundings } from "../kernel_case.ts";
import { filled, signed } from "../values.ts";

/** The number of inner columns: one whole slice of the shader, and the beginning of another. */
const K = 17;

/** The shapes (m, n) of C with which a GPU chooses each variant, apart from the smallest patches. */
const SHAPES = {
  "128x128": [9, 264 * 128],
  "64x128": [65, 132 * 128],
  "128x64": [9, 132 * 128],
} as const;

const KERNELS = [
  { kernel: gemmNN, transA: false, transB: false },
  { kernel: gemmNT, transA: false, transB: true },
  { kernel: gemmTN, transA: true, transB: false },
] as const;

const OPTIONS = { a_offset: 0, b_offset: 0, c_offset: 0, alpha: 1, beta: 0, upper: 0 };

/** C ← op(A)·op(B), and then sums ← C·v. */
function patchCase(
  { kernel, transA, transB }: (typeof KERNELS)[number],
  patch: keyof typeof SHAPES,
): CheckCase {
  const [m, n] = SHAPES[patch];
  const product = { ...OPTIONS, m, n, k: K, lda: transA ? m : K, ldb: transB ? K : n, ldc: n };
  const sum = { ...OPTIONS, m, n: 1, k: n, lda: n, ldb: 1, ldc: 1 };
  return {
    name: `${kernel.name}, patches of ${patch}`,
    subject: kernel.name,
    steps: [
      { kernel: kernel as unknown as Kernel, params: product, buffers: { a: "a", b: "b", c: "c" } },
      { kernel: gemmNN as unknown as Kernel, params: sum, buffers: { a: "c", b: "v", c: "sums" } },
    ],
    buffers: () => ({
      a: signed(m * K, 200),
      b: signed(K * n, 201),
      c: filled(m * n, NaN),
      v: signed(n, 202),
      sums: filled(m, NaN),
    }),
    outputs: { sums: { binding: "sums", roundings: sumRoundings(n) + sumRoundings(K) } },
  };
}

export const PATCH_CASES: readonly CheckCase[] = KERNELS.flatMap((kernel) =>
  (Object.keys(SHAPES) as (keyof typeof SHAPES)[]).map((patch) => patchCase(kernel, patch))
);
