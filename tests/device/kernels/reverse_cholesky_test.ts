/**
 * Tests of reverse_cholesky. They check the residuals of R and U for many sizes, the elements that the kernel
 * reads and writes, and how it reports failed pivots.
 */

import { ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { choleskyCase, packedShader, reverseCholesky } from "../../../src/device/kernels/reverse_cholesky.ts";
import { correlatedHessian, gram } from "../../reference/hessian.ts";
import {
  factorResidual,
  inverseResidual,
  referenceReverseCholesky,
} from "../../reference/kernels/reverse_cholesky.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { packed } from "../../reference/kernel_reference.ts";
import { eachTiling } from "../../support/backends.ts";
import { assertCase } from "../../support/kernel_cases.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

const SIZES = [
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  9,
  15,
  16,
  17,
  31,
  32,
  33,
  64,
  65,
  96,
  100,
  124,
  125,
  127,
  128,
  129,
  172,
  255,
  256,
];
/**
 * The bound of the scaled residuals. A backward stable method has residuals of about the unit roundoff, 6e-8,
 * for matrices of any size.
 */
const RESIDUAL = 1e-7;
/** The first column of the block in the whole matrix. */
const FIRST = choleskyCase(1, 1, 1).params.first;

/** A well-conditioned matrix, XᵀX/2n + I/10. */
function positiveDefinite(n: number): Float32Array<ArrayBuffer> {
  const h = gram(Float64Array.from(normals(2 * n * n, n)), 2 * n, n);
  return Float32Array.from(h, (value, i) => value / (2 * n) + (i % (n + 1) === 0 ? 0.1 : 0));
}

/** A case of the block `h`, (n, n), in the middle of a larger tile. `status` is the status before the dispatch. */
function blockCase(h: Float32Array, n: number, status = 0) {
  const { params, buffers } = choleskyCase(n, n + 7, n, status), { offset, ld } = params;
  return {
    params,
    buffers: () => {
      const operands = buffers();
      for (let i = 0; i < n; i++) operands.h.set(h.subarray(i * n + i, (i + 1) * n), offset + i * ld + i);
      return operands;
    },
  };
}

/** Runs the kernel on a block, (n, n), and returns R, U and the status. */
async function factor(backend: Backend, kernel: typeof reverseCholesky, h: Float32Array, n: number) {
  const { params, buffers } = blockCase(h, n), { r_offset, ldr, u_offset, ldu } = params;
  const after = await dispatchCase(backend, kernel as unknown as Kernel, buffers(), params);
  const r = packed(after.r, n, n, r_offset, ldr), u = packed(after.u, n, n, u_offset, ldu);
  return { r, u, status: after.status[0] };
}

/** Asserts that R and U of a block that is positive definite have small residuals. */
function assertResiduals(
  { r, u, status }: Awaited<ReturnType<typeof factor>>,
  h: Float32Array,
  n: number,
): void {
  strictEqual(status, 0);
  const residual = factorResidual(h, r, n), identity = inverseResidual(u, r, n);
  ok(residual < RESIDUAL, `‖H − R·Rᵀ‖/(n‖H‖) = ${residual}`);
  ok(identity < RESIDUAL, `‖U·R − I‖/(n‖U‖‖R‖) = ${identity}`);
}

/** The sizes at which the kernel runs, and the shader. */
const SHADERS: Readonly<Record<string, { kernel: typeof reverseCholesky; largest: number }>> = {
  "reverse_cholesky": { kernel: reverseCholesky, largest: 256 },
  // Adapters of tests have 32 KiB of workgroup memory, so the blocks are a little smaller than on a GPU.
  "reverse_cholesky in workgroup memory": {
    kernel: {
      ...reverseCholesky,
      shader: packedShader(125),
      softwareShader: undefined,
      variants: undefined,
      variantFor: undefined,
    },
    largest: 125,
  },
};

for (const [name, { kernel, largest }] of Object.entries(SHADERS)) {
  eachTiling(name, (backend) => {
    for (const n of SIZES.filter((size) => size <= largest)) {
      it(`factors and inverts a block of ${n}×${n}`, async () => {
        const h = positiveDefinite(n);
        assertResiduals(await factor(backend(), kernel, h, n), h, n);
        const roundings = { r: 1, u: 1, diagonal: 1 };
        await assertCase(backend(), kernel, { ...blockCase(h, n), roundings }, { tolerance: 1e-5 });
      });
    }

    it("has small residuals for a nearly singular block", async () => {
      const n = Math.min(128, largest), h = correlatedHessian(n, { seed: 4 });
      let mean = 0;
      for (let j = 0; j < n; j++) mean += h[j * (n + 1)] / n;
      for (let j = 0; j < n; j++) h[j * (n + 1)] += 0.001 * mean;
      assertResiduals(await factor(backend(), kernel, h, n), h, n);
    });

    for (const [n, j] of [[1, 0], [7, 3], [33, 32], [128, 0], [128, 65], [129, 128], [256, 7]]) {
      if (n > largest) continue;
      it(`reports column ${j} of a ${n}×${n} block if its pivot is negative`, async () => {
        const h = positiveDefinite(n);
        // The pivot is R[j,j]². Subtracting 2·R[j,j]² from H[j,j] makes the pivot −R[j,j]².
        h[j * (n + 1)] -= 2 * referenceReverseCholesky(h, n).r[j * (n + 1)] ** 2;
        strictEqual(referenceReverseCholesky(h, n).failed, j);
        strictEqual((await factor(backend(), kernel, h, n)).status, FIRST + j + 1);
      });

      it(`reports column ${j} of a ${n}×${n} block if its pivot is NaN`, async () => {
        const h = positiveDefinite(n);
        h[j * (n + 1)] = NaN;
        strictEqual((await factor(backend(), kernel, h, n)).status, FIRST + j + 1);
      });
    }

    it("reports the row of a NaN above the diagonal, because the pivot of this row is the first to become NaN", async () => {
      const n = 64, h = positiveDefinite(n);
      h[20 * n + 50] = NaN;
      strictEqual((await factor(backend(), kernel, h, n)).status, FIRST + 20 + 1);
    });

    it("reports a zero pivot in the last column, which is factored first", async () => {
      strictEqual((await factor(backend(), kernel, new Float32Array(40 * 40), 40)).status, FIRST + 40);
    });

    it("does nothing if a pivot has failed before", async () => {
      const one = blockCase(positiveDefinite(33), 33, 123);
      await assertCase(backend(), kernel, one, { tolerance: 0 });
    });
  });
}
