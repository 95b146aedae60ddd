/**
 * Tests of gemm_nn, gemm_nt and gemm_tn in comparison with the definition in float64. Each error is divided
 * by Σ|a·b|, the sum of the magnitudes of the terms, because rounding errors are proportional to it. So a sum
 * whose terms cancel neither hides an error nor fails the test without an error.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/kernels/gemm.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const KERNELS = {
  nn: { kernel: gemmNN, transA: false, transB: false },
  nt: { kernel: gemmNT, transA: false, transB: true },
  tn: { kernel: gemmTN, transA: true, transB: false },
} as const;

interface Case {
  readonly size: readonly [m: number, n: number, k: number];
  readonly alpha?: number;
  readonly beta?: number;
  /** Elements before the first element of A, B and C. */
  readonly offsets?: readonly [a: number, b: number, c: number];
  /** Elements between the end of a row and the start of the next, in A, B and C. */
  readonly padding?: readonly [a: number, b: number, c: number];
  /** The parameter of the kernel. With 1 + d, only the elements (i, j) with i ≤ j + d are compared. */
  readonly upper?: number;
  /** The contents of C before the product. */
  readonly before?: "normals" | "NaN";
}

/**
 * Returns a (rows, cols) operand in memory. It is surrounded by NaN, so a test fails if the kernel uses
 * elements outside of the operand.
 */
function stored(rows: number, cols: number, offset: number, padding: number, seed: number) {
  const ld = cols + padding;
  const values = new Float32Array(offset + rows * ld + 5).fill(NaN);
  const inside = normals(rows * cols, seed);
  for (let r = 0; r < rows; r++) values.set(inside.subarray(r * cols, (r + 1) * cols), offset + r * ld);
  return { values, offset, ld };
}

async function check(backend: Backend, name: keyof typeof KERNELS, options: Case): Promise<void> {
  const { kernel, transA, transB } = KERNELS[name];
  const { size, alpha = 1, beta = 0, offsets = [0, 0, 0], padding = [0, 0, 0] } = options;
  const { upper = 0, before = "normals" } = options;
  const [m, n, k] = size;
  const a = stored(transA ? k : m, transA ? m : k, offsets[0], padding[0], 1);
  const b = stored(transB ? n : k, transB ? k : n, offsets[1], padding[1], 2);
  const c = stored(m, n, offsets[2], padding[2], 3);
  if (before === "NaN") c.values.fill(NaN);
  const buffers = {
    a: upload(backend, a.values, "a"),
    b: upload(backend, b.values, "b"),
    c: upload(backend, c.values, "c"),
  };
  const params = {
    m,
    n,
    k,
    a_offset: a.offset,
    lda: a.ld,
    b_offset: b.offset,
    ldb: b.ld,
    c_offset: c.offset,
    ldc: c.ld,
  };
  backend.dispatch(kernel, buffers, { ...params, alpha, beta, upper });
  const result = await downloadF32(backend, buffers.c);
  for (const buffer of Object.values(buffers)) buffer.destroy();

  const { product, magnitude } = referenceGemm(
    size,
    { ...a, transposed: transA },
    { ...b, transposed: transB },
    c,
    alpha,
    beta,
  );
  const errors = new Float64Array(m * n);
  const outside = result.slice(), outsideBefore = c.values.slice();
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      const place = c.offset + i * c.ld + j;
      const error = Math.abs(result[place] - product[i * n + j]);
      if (upper === 0 || i <= j + upper - 1) {
        errors[i * n + j] = error === 0 ? 0 : error / magnitude[i * n + j];
      }
      outside[place] = outsideBefore[place] = 0;
    }
  }
  // With unit roundoff u, k·u bounds the error of a sum in any order. Alpha and beta add two more roundings.
  assertClose(errors, new Float64Array(m * n), (k + 3) * 2 ** -24, {
    scale: 1,
    label: `${name} ${size.join("×")}`,
  });
  assert.deepEqual(outside, outsideBefore, `${name} ${size.join("×")}: elements outside of C`);
}

/** Sizes around every boundary of the implementations, which work on multiples of 4, 6, 8, 16, 64, 240, 256 and 480 elements. */
const SIZES: readonly Case["size"][] = [
  [1, 1, 1],
  [1, 7, 5],
  [7, 1, 3],
  [5, 6, 1],
  [6, 8, 4],
  [7, 9, 5],
  [13, 17, 31],
  [63, 65, 64],
  [64, 64, 127],
  [97, 130, 257],
  [192, 256, 32],
  [241, 33, 130],
  [31, 263, 513],
];

eachBackend("gemm", (backend) => {
  for (const name of ["nn", "nt", "tn"] as const) {
    it(`gemm_${name} multiplies matrices of every tested size`, async () => {
      for (const size of SIZES) await check(backend(), name, { size });
    });

    it(`gemm_${name} accepts offsets and leading dimensions`, async () => {
      for (const size of [[5, 6, 7], [65, 70, 66], [128, 64, 32]] as const) {
        await check(backend(), name, { size, offsets: [3, 1, 2], padding: [5, 3, 7], alpha: 2, beta: 1 });
        await check(backend(), name, { size, offsets: [4, 8, 12], padding: [4, 8, 16] });
      }
    });

    it(`gemm_${name} scales by alpha and beta`, async () => {
      for (const [alpha, beta] of [[1, 0], [1, 1], [-1, 1], [0.5, -2], [0, 1], [0, 0]] as const) {
        await check(backend(), name, { size: [33, 41, 600], alpha, beta });
      }
    });

    it(`gemm_${name} does not read C if beta is 0`, async () => {
      for (const size of [[6, 8, 4], [70, 75, 300]] as const) {
        await check(backend(), name, { size, beta: 0, before: "NaN" });
      }
    });

    it(`gemm_${name} only scales C if k is 0`, async () => {
      await check(backend(), name, { size: [9, 11, 0], beta: 0.5 });
      await check(backend(), name, { size: [9, 11, 0], beta: 0, before: "NaN" });
    });

    it(`gemm_${name} computes at least the elements that upper asks for`, async () => {
      for (const size of [[5, 5, 5], [130, 130, 70], [257, 257, 33], [70, 200, 20], [200, 70, 20]] as const) {
        for (const upper of [1, 2, 61, 64, 131, 400]) {
          await check(backend(), name, { size, upper, alpha: -1, beta: 1 });
        }
      }
    });
  }

  it("accepts a product without rows or columns", async () => {
    await check(backend(), "nn", { size: [0, 5, 3] });
    await check(backend(), "nn", { size: [5, 0, 3] });
  });

  it("computes the same bits in every run", async () => {
    const a = upload(backend(), normals(200 * 300, 1)), b = upload(backend(), normals(300 * 170, 2));
    const runs: Float32Array[] = [];
    for (let run = 0; run < 2; run++) {
      const c = backend().createBuffer("c", 200 * 170 * 4);
      const params = {
        m: 200,
        n: 170,
        k: 300,
        a_offset: 0,
        lda: 300,
        b_offset: 0,
        ldb: 170,
        c_offset: 0,
        ldc: 170,
      };
      backend().dispatch(gemmNN, { a, b, c }, { ...params, alpha: 1, beta: 0, upper: 0 });
      runs.push(await downloadF32(backend(), c));
      c.destroy();
    }
    for (const buffer of [a, b]) buffer.destroy();
    assert.deepEqual(runs[0], runs[1]);
  });
});
