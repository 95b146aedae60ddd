/**
 * Tests of reverse_cholesky. They check the residuals of R and U for many sizes, the elements that the kernel
 * reads and writes, and how it reports failed pivots.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { packedShader, reverseCholesky } from "../../../src/device/kernels/reverse_cholesky.ts";
import { correlatedHessian, gram } from "../../reference/hessian.ts";
import {
  factorResidual,
  inverseResidual,
  referenceReverseCholesky,
} from "../../reference/kernels/reverse_cholesky.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachTiling } from "../../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../../support/device.ts";
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
/**
 * The block starts at row ROW and column COL of a larger tile, and MARGIN columns follow it. FIRST is its
 * first column in the whole matrix. SENTINEL fills all elements around it.
 */
const ROW = 3, COL = 5, MARGIN = 2, FIRST = 11, SENTINEL = 77;

/** A well-conditioned matrix, XᵀX/2n + I/10. */
function positiveDefinite(n: number): Float32Array<ArrayBuffer> {
  const h = gram(Float64Array.from(normals(2 * n * n, n)), 2 * n, n);
  return Float32Array.from(h, (value, i) => value / (2 * n) + (i % (n + 1) === 0 ? 0.1 : 0));
}

interface Outcome {
  /** The contents of the whole buffers r, u and diagonal. */
  readonly factor: Float32Array;
  readonly inverse: Float32Array;
  readonly diagonal: Float32Array;
  readonly status: number;
  /** The blocks R and U, (n, n), cut out of `factor` and `inverse`. */
  readonly r: Float32Array;
  readonly u: Float32Array;
}

/**
 * Runs the kernel on `h`, (n, n), inside of a larger tile that is filled with SENTINEL. The elements below
 * the diagonal of the block are NaN, because the kernel must not read them. R and U are written to tiles of the
 * same shape, of which that of R has one more column.
 */
async function factor(
  backend: Backend,
  kernel: typeof reverseCholesky,
  h: Float32Array,
  n: number,
  status = 0,
): Promise<Outcome> {
  const ld = n + COL + MARGIN;
  const block = (from: Float32Array, width: number) =>
    Float32Array.from({ length: n * n }, (_, i) => from[(ROW + Math.floor(i / n)) * width + COL + i % n]);
  const tile = new Float32Array((ROW + n + 1) * ld).fill(SENTINEL);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) tile[(ROW + i) * ld + COL + j] = i > j ? NaN : h[i * n + j];
  }
  const buffers = {
    h: upload(backend, tile),
    r: upload(backend, new Float32Array((ROW + n + 1) * (ld + 1)).fill(SENTINEL)),
    u: upload(backend, new Float32Array(tile.length).fill(SENTINEL)),
    diagonal: upload(backend, new Float32Array(FIRST + n + 1).fill(SENTINEL)),
    status: upload(backend, Uint32Array.of(status)),
  };
  const offset = ROW * ld + COL;
  backend.dispatch(kernel, buffers, {
    size: n,
    offset,
    ld,
    r_offset: ROW * (ld + 1) + COL,
    ldr: ld + 1,
    u_offset: offset,
    ldu: ld,
    first: FIRST,
  });
  const outcome = {
    factor: await downloadF32(backend, buffers.r),
    inverse: await downloadF32(backend, buffers.u),
    diagonal: await downloadF32(backend, buffers.diagonal),
    status: (await downloadU32(backend, buffers.status))[0],
  };
  for (const buffer of Object.values(buffers)) buffer.destroy();
  return { ...outcome, r: block(outcome.factor, ld + 1), u: block(outcome.inverse, ld) };
}

/** Asserts that only the (n, n) block was written. */
function assertAround(tile: Float32Array, n: number, margin = MARGIN): void {
  const ld = n + COL + margin;
  tile.forEach((value, at) => {
    const i = Math.floor(at / ld) - ROW, j = at % ld - COL;
    if (i < 0 || i >= n || j < 0 || j >= n) strictEqual(value, SENTINEL, `element (${i}, ${j}) of the block`);
  });
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
        const { factor: tile, inverse, diagonal, status, r, u } = await factor(backend(), kernel, h, n);
        strictEqual(status, 0);
        const residual = factorResidual(h, r, n), identity = inverseResidual(u, r, n);
        ok(residual < RESIDUAL, `‖H − R·Rᵀ‖/(n‖H‖) = ${residual}`);
        ok(identity < RESIDUAL, `‖U·R − I‖/(n‖U‖‖R‖) = ${identity}`);
        assertClose(r, referenceReverseCholesky(h, n).r, 1e-5);
        for (let i = 0; i < n; i++) {
          strictEqual(diagonal[FIRST + i], r[i * n + i]);
          for (let j = 0; j < i; j++) ok(r[i * n + j] === 0 && u[i * n + j] === 0, `(${i}, ${j}) is not 0`);
        }
        deepStrictEqual([...diagonal.slice(0, FIRST), diagonal[FIRST + n]], Array(FIRST + 1).fill(SENTINEL));
        assertAround(tile, n, MARGIN + 1);
        assertAround(inverse, n);
      });
    }

    it("has small residuals for a nearly singular block", async () => {
      const n = Math.min(128, largest), h = correlatedHessian(n, { seed: 4 });
      let mean = 0;
      for (let j = 0; j < n; j++) mean += h[j * (n + 1)] / n;
      for (let j = 0; j < n; j++) h[j * (n + 1)] += 0.001 * mean;
      const { r, u, status } = await factor(backend(), kernel, h, n);
      strictEqual(status, 0);
      const residual = factorResidual(h, r, n), identity = inverseResidual(u, r, n);
      ok(residual < RESIDUAL, `‖H − R·Rᵀ‖/(n‖H‖) = ${residual}`);
      ok(identity < RESIDUAL, `‖U·R − I‖/(n‖U‖‖R‖) = ${identity}`);
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
      const n = 33, h = positiveDefinite(n);
      const outcome = await factor(backend(), kernel, h, n, 123);
      strictEqual(outcome.status, 123);
      for (const values of [outcome.factor, outcome.inverse, outcome.diagonal]) {
        ok(values.every((value) => value === SENTINEL));
      }
    });
  });
}
