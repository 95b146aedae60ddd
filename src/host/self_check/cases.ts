/** The cases of the self-check: the cases of every kernel's declaration, large products, and the blocks of tiny models. */

import { gemmNN, gemmNT, gemmTN } from "../../device/kernels/gemm.ts";
import type { Kernel } from "../../device/kernels/kernel.ts";
import {
  type CaseOutput,
  filled,
  type KernelCase,
  signed,
  sumRoundings,
} from "../../device/kernels/kernel_case.ts";
import { KERNELS } from "../../device/kernels/kernels.ts";
import { MODEL_CASES } from "./model_cases.ts";
import type { CheckCase } from "./run_case.ts";

/** Returns a case of one dispatch. Its buffers have the names of the bindings, and the written ones are outputs. */
function checkCase(kernel: Kernel, { feature, params, buffers, ...compared }: KernelCase): CheckCase {
  const { roundings, includes, outputs } = compared, names = Object.keys(kernel.bindings);
  const written = names.filter((name) => kernel.bindings[name] === "read_write").map((
    name,
  ): [string, CaseOutput] => [
    name,
    { binding: name, roundings: roundings?.[name], includes: includes?.[name] },
  ]);
  return {
    name: feature ? `${kernel.name}, ${feature}` : kernel.name,
    subject: kernel.name,
    steps: [{ kernel, params, buffers: Object.fromEntries(names.map((name) => [name, name])) }],
    buffers,
    outputs: { ...Object.fromEntries(written), ...outputs },
  };
}

export function casesOf(kernel: Kernel): readonly CheckCase[] {
  return kernel.cases().map((kernelCase) => checkCase(kernel, kernelCase));
}

/** The number of inner columns: one whole slice of the shader, and the beginning of another. */
const K = 17;

/**
 * The shapes (m, n) of C for which a GPU chooses each variant except the one with the smallest patches: 264 of the
 * patches (`ENOUGH_WORKGROUPS` in `gemm.ts`), and too few larger ones. The shape {@link PACKED} has so many rows that the
 * `cpu` backend packs the right operand in a command of its own.
 */
const SHAPES = {
  "128x128": [9, 264 * 128],
  "64x128": [705, 22 * 128],
  "128x64": [9, 132 * 128],
} as const;

const PACKED: keyof typeof SHAPES = "64x128";

const PRODUCTS = [
  { kernel: gemmNN, transA: false, transB: false },
  { kernel: gemmNT, transA: false, transB: true },
  { kernel: gemmTN, transA: true, transB: false },
] as const;

const OPTIONS = { a_offset: 0, b_offset: 0, c_offset: 0, alpha: 1, beta: 0, upper: 0 };

/**
 * Returns a case that computes C ← op(A)·op(B), and then sums ← C·v. C is so large that a GPU uses the variant of the
 * shader for this patch. The sums are compared in place of C, which is too long.
 */
function patchCase(
  { kernel, transA, transB }: (typeof PRODUCTS)[number],
  patch: keyof typeof SHAPES,
): CheckCase {
  const [m, n] = SHAPES[patch];
  const product = { ...OPTIONS, m, n, k: K, lda: transA ? m : K, ldb: transB ? K : n, ldc: n };
  const sum = { ...OPTIONS, m, n: 1, k: n, lda: n, ldb: 1, ldc: 1 };
  return {
    name: `${kernel.name}, patches of ${patch}`,
    subject: kernel.name,
    backend: patch === PACKED ? undefined : "webgpu",
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

const PATCH_CASES: readonly CheckCase[] = PRODUCTS.flatMap((kernel) =>
  (Object.keys(SHAPES) as (keyof typeof SHAPES)[]).map((patch) => patchCase(kernel, patch))
);

export const ALL_CASES: readonly CheckCase[] = [...KERNELS.flatMap(casesOf), ...PATCH_CASES, ...MODEL_CASES];
