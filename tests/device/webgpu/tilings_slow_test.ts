/**
 * Tests every shader of the matrix product on the adapter of this machine. So even a software adapter, which
 * emulates a GPU on the CPU, tests the shaders that are meant for discrete GPUs. `tests/device/kernels/` tests only
 * the shaders that the adapter uses by default.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { gemmNN } from "../../../src/device/kernels/gemm.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { shadersOf } from "../../../src/device/webgpu/tuning.ts";
import { assertClose } from "../../support/assert_close.ts";
import { GEMMS, runProduct } from "../../support/products.ts";
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

const VARIANTS = [...shadersOf(gemmNN).keys()];

it("the matrix product has a shader for each kind of adapter, and variants for smaller parts of C", () => {
  deepStrictEqual(VARIANTS, ["discrete", "software", "64x64", "64x128", "128x64"]);
});

for (const variant of VARIANTS) {
  const forced = variant === "discrete" || variant === "software" ? variant : undefined;
  // The tuning also keeps the default shader for hardware from being replaced by a variant for small products.
  const tuning = Object.fromEntries(GEMMS.map(({ kernel }) => [kernel.name, variant]));
  webgpuSuite(`the ${variant} shaders`, (backend) => {
    if (forced) it("compile for every kernel", () => backend().warm(KERNELS));

    for (const gemm of GEMMS) {
      it(`compute ${gemm.kernel.name} with odd sizes, offsets and leading dimensions`, async () => {
        for (const [m, n, k] of [...SIZES, ...EDGES.map((edge) => [edge, edge, edge] as const)]) {
          for (const odd of [0, 1]) {
            for (const upper of [0, 1, 1 + Math.floor(m / 2)]) {
              const pad = (cols: number) => 4 * Math.ceil(cols / 4) - cols + odd;
              const place = {
                offsets: [3 * odd, 5 * odd, 7 * odd],
                padding: [pad(gemm.transA ? m : k), pad(gemm.transB ? k : n), odd],
              } as const;
              const product = { size: [m, n, k], alpha: -0.5, beta: odd, upper, ...place } as const;
              const { errors } = await runProduct(backend(), gemm, product);
              // The error of a sum of k terms in any order is at most k·u, relative to the magnitude, where u
              // = 2⁻²⁴. Alpha, beta and the last addition add three roundings.
              const label = `${gemm.kernel.name} ${m}×${n}×${k}`;
              assertClose(errors, errors.map(() => 0), (k + 3) * 2 ** -24, { scale: 1, label });
            }
          }
        }
      });
    }
  }, { tiling: forced, tuning });
}
