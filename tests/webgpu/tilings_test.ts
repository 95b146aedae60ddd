/**
 * Tests every shader of the matrix product on the adapter of this machine. So even a software adapter, which
 * emulates a GPU on the CPU, tests the shaders that are meant for discrete GPUs. `tests/kernels/` tests only
 * the shaders that the adapter uses by default.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { gemmNN, gemmNT, gemmTN } from "../../src/kernels/gemm.ts";
import { KERNELS } from "../../src/kernels/kernels.ts";
import { shadersOf } from "../../src/webgpu/tuning.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { assertClose } from "../support/assert_close.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";
import { webgpuSuite } from "./suite.ts";

/**
 * Sizes m, n and k of products. They lie just below, at and above multiples of the sizes that the shaders
 * work with. A workgroup computes a patch of C, which has edges of 64 or 128 elements, or 8 × 128 elements,
 * and takes slices of 8 steps of k.
 */
const SIZES = [[1, 1, 1], [9, 130, 7], [63, 65, 17], [127, 129, 8], [128, 128, 9], [131, 257, 33], [
  260,
  5,
  64,
]] as const;

/** Edges of products with m = n = k: those around the multiples of what a shader computes or loads together. */
const EDGES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 127, 128, 129, 130];

const PRODUCTS = [
  { kernel: gemmNN, transA: false, transB: false },
  { kernel: gemmNT, transA: false, transB: true },
  { kernel: gemmTN, transA: true, transB: false },
];

const VARIANTS = [...shadersOf(gemmNN).keys()];

it("the matrix product has a shader for each kind of adapter, and variants for smaller parts of C", () => {
  deepStrictEqual(VARIANTS, ["discrete", "software", "64x64", "64x128", "128x64"]);
});

for (const variant of VARIANTS) {
  const forced = variant === "discrete" || variant === "software" ? variant : undefined;
  // The tuning also keeps the default shader for hardware from being replaced by a variant for small products.
  const tuning = Object.fromEntries(PRODUCTS.map(({ kernel }) => [kernel.name, variant]));
  webgpuSuite(`the ${variant} shaders`, (backend) => {
    if (forced) it("compile for every kernel", () => backend().warm(KERNELS));

    for (const { kernel, transA, transB } of PRODUCTS) {
      it(`compute ${kernel.name} with odd sizes, offsets and leading dimensions`, async () => {
        for (const [m, n, k] of [...SIZES, ...EDGES.map((edge) => [edge, edge, edge] as const)]) {
          for (const odd of [0, 1]) {
            for (const upper of [0, 1, 1 + Math.floor(m / 2)]) {
              const lda = 4 * Math.ceil((transA ? m : k) / 4) + odd, a_offset = 3 * odd;
              const ldb = 4 * Math.ceil((transB ? k : n) / 4) + odd, b_offset = 5 * odd;
              const ldc = n + odd, c_offset = 7 * odd;
              const a = normals(a_offset + lda * (transA ? k : m), 1);
              const b = normals(b_offset + ldb * (transB ? n : k), 2);
              const c = normals(c_offset + ldc * m, 3);
              const before = c.slice();
              const alpha = -0.5, beta = odd;
              if (beta === 0) c.fill(NaN);
              const buffers = { a: upload(backend(), a), b: upload(backend(), b), c: upload(backend(), c) };
              const shape = { m, n, k, a_offset, lda, b_offset, ldb, c_offset, ldc };
              backend().dispatch(kernel, buffers, { ...shape, alpha, beta, upper });
              const result = await downloadF32(backend(), buffers.c);
              const { product, magnitude } = referenceGemm(
                [m, n, k],
                { values: a, offset: a_offset, ld: lda, transposed: transA },
                { values: b, offset: b_offset, ld: ldb, transposed: transB },
                { values: before, offset: c_offset, ld: ldc },
                alpha,
                beta,
              );
              const errors = product.map((expected, at) => {
                const i = Math.floor(at / n), j = at % n;
                if (upper > 0 && i > j + upper - 1) return 0;
                return Math.abs(result[c_offset + i * ldc + j] - expected) / magnitude[at];
              });
              // The error of a sum of k terms in any order is at most k·u, relative to the magnitude, where u
              // = 2⁻²⁴. Alpha, beta and the last addition add three roundings.
              assertClose(errors, new Float64Array(m * n), (k + 3) * 2 ** -24, {
                scale: 1,
                label: `${kernel.name} ${m}×${n}×${k}`,
              });
              for (const buffer of Object.values(buffers)) buffer.destroy();
            }
          }
        }
      });
    }
  }, { tiling: forced, tuning: () => tuning });
}
