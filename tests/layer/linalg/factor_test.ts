/**
 * Tests factor(), which factors calibration statistics H = R·Rᵀ, on every backend. The tests cover scaled
 * residuals that are computed in float64, dead inputs, retries and failures.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { type Backend, OutOfDeviceMemoryError } from "../../../src/device/backend.ts";
import { readMatrix, tileEdgeFor } from "../../../src/device/tiled_matrix.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "../../../src/layer/linalg/errors.ts";
import { type Factor, factor } from "../../../src/layer/linalg/factor.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadF32, downloadU32 } from "../../support/device.ts";
import { uploadHessian } from "../../support/layers.ts";

/** The sizes to factor. `edge` is a small tile edge, with which the larger matrices have several tiles. */
const SIZES: [order: number, blocksize: number, edge?: number][] = [
  [1, 128],
  [5, 128],
  [63, 32, 64],
  [64, 32, 64],
  [65, 32, 64],
  [127, 128],
  [129, 128],
  [172, 64, 64],
  [300, 32, 64],
  [300, 96],
  [384, 128, 256],
  [700, 128],
  [1300, 128, 16384], // a panel of 1024 columns
];

/** Reads R, and replaces the elements below the diagonal, which are undefined, by zeros. */
async function upperTriangle(backend: Backend, { r }: Factor): Promise<Float32Array> {
  const values = await readMatrix(backend, r);
  for (let i = 0; i < r.rows; i++) values.fill(0, i * r.cols, i * r.cols + i);
  return values;
}

/** Returns the scaled residual ‖A − R·Rᵀ‖/(n·‖A‖) in the Frobenius norm, where A = H + added·I. */
function residual(h: Float32Array, added: number, r: Float32Array, n: number): number {
  let difference = 0, norm = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let product = 0;
      for (let k = j; k < n; k++) product += r[i * n + k] * r[j * n + k];
      const a = h[i * n + j] + (i === j ? added : 0);
      const weight = i === j ? 1 : 2;
      difference += weight * (a - product) ** 2;
      norm += weight * a * a;
    }
  }
  return Math.sqrt(difference / norm) / n;
}

/** Returns the identity matrix with h[i,j] = h[j,i] = value. It is not positive definite if |value| ≥ 1. */
function coupled(n: number, i: number, j: number, value: number): Float32Array {
  const h = new Float32Array(n * n);
  for (let d = 0; d < n; d++) h[d * n + d] = 1;
  h[i * n + j] = h[j * n + i] = value;
  return h;
}

/** Wraps `backend` so that it fails to allocate the separate factor that a retry needs. */
function withoutRoomForFactor(backend: Backend): Backend {
  return new Proxy(backend, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      if (key === "createBuffer") {
        return (label: string, bytes: number) => {
          if (label.startsWith("factor of the statistics")) {
            throw new OutOfDeviceMemoryError(`no room for ${label}`);
          }
          return target.createBuffer(label, bytes);
        };
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

eachBackend("factor()", (backend) => {
  for (const [n, blocksize, edge] of SIZES) {
    it(`factors a matrix of order ${n} in blocks of ${blocksize}${edge ? ` and tiles of ${edge}` : ""}`, async () => {
      const live = backend().counters.bytesLive;
      const h = correlatedHessian(n, { seed: n });
      const hessian = uploadHessian(backend(), h, n, edge ?? tileEdgeFor(blocksize));
      const result = await factor(backend(), hessian, { damping: 0.01, blocksize });

      const r = await upperTriangle(backend(), result);
      const scaled = residual(h, result.dampingAdded, r, n);
      assert.ok(scaled < 1e-7, `scaled residual ${scaled}`);
      const diagonal = await downloadF32(backend(), result.diagonal);
      assert.deepEqual([...diagonal], Array.from({ length: n }, (_, j) => r[j * (n + 1)]));
      assertInverseBlocks(await downloadF32(backend(), result.u), r, n, blocksize);

      let trace = 0;
      for (let j = 0; j < n; j++) trace += h[j * (n + 1)];
      assert.equal(result.damping, 0.01);
      assertClose([result.dampingAdded], [0.01 * trace / n], 1e-12);
      assert.equal(result.dead, undefined);
      assert.equal(result.byteLength, backend().counters.bytesLive - live);
      result.destroy();
      assert.equal(backend().counters.bytesLive, live);
    });
  }

  it("sets the diagonal entries of dead inputs to 1 and flags these inputs", async () => {
    const n = 70, dead = [0, 33, 69];
    const h = correlatedHessian(n, { seed: 3, dead });
    const result = await factor(backend(), uploadHessian(backend(), h, n, 64), {
      damping: 0.01,
      blocksize: 32,
    });
    const flags = await downloadU32(backend(), result.dead!);
    assert.deepEqual([...flags], Array.from({ length: n }, (_, j) => dead.includes(j) ? 1 : 0));
    for (const j of dead) h[j * (n + 1)] = 1;
    const scaled = residual(h, result.dampingAdded, await upperTriangle(backend(), result), n);
    assert.ok(scaled < 1e-7, `scaled residual ${scaled}`);
    result.destroy();
  });

  it("computes the same bits when it is run again", async () => {
    const n = 172, h = correlatedHessian(n, { seed: 4 });
    const runs: Float32Array[] = [];
    for (let run = 0; run < 2; run++) {
      const result = await factor(backend(), uploadHessian(backend(), h, n, 128), {
        damping: 0.01,
        blocksize: 64,
      });
      runs.push(await upperTriangle(backend(), result));
      result.destroy();
    }
    assertSame(runs[0], runs[1]);
  });

  it("retries with more damping, from the original statistics", async () => {
    const n = 150, h = coupled(n, 20, 140, 1.05);
    for (const damping of [0, 0.01]) {
      const result = await factor(backend(), uploadHessian(backend(), h, n, 64), { damping, blocksize: 32 });
      assert.equal(result.damping, 0.1);
      const scaled = residual(h, result.dampingAdded, await upperTriangle(backend(), result), n);
      assert.ok(scaled < 1e-7, `scaled residual ${scaled}`);
      result.destroy();
    }
  });

  it("fails after the last damping, and reports this damping and the order of the failing minor", async () => {
    const n = 150, live = backend().counters.bytesLive;
    for (const [damping, last] of [[0.01, 1], [1, 1], [2, 2]]) {
      const hessian = uploadHessian(backend(), coupled(n, 20, 140, 5), n, 64);
      await assert.rejects(factor(backend(), hessian, { damping, blocksize: 32 }), (error) => {
        assert.ok(error instanceof NotPositiveDefiniteError);
        assert.equal(error.order, n - 20);
        assert.equal(error.damping, last);
        return true;
      });
    }
    assert.equal(backend().counters.bytesLive, live);
  });

  it("names the next damping in the message if there was no memory for the separate factor that a retry needs", async () => {
    const n = 40, live = backend().counters.bytesLive;
    const limited = withoutRoomForFactor(backend());
    const hessian = uploadHessian(backend(), coupled(n, 3, 30, 1.05), n, 64);
    await assert.rejects(factor(limited, hessian, { damping: 0.01, blocksize: 32 }), (error) => {
      assert.ok(error instanceof NotPositiveDefiniteError);
      assert.equal(error.damping, 0.01);
      assert.match(error.message, /not retried.*damping 0\.1/);
      return true;
    });
    assert.equal(backend().counters.bytesLive, live);
  });

  it("names the first negative or non-finite diagonal entry, and rejects blocks that extend over two tiles", async () => {
    const live = backend().counters.bytesLive, h = coupled(5, 0, 1, 0.5);
    for (const value of [-1, NaN, Infinity, -Infinity]) {
      h[3 * 6] = h[4 * 6] = value;
      await assert.rejects(
        factor(backend(), uploadHessian(backend(), h, 5), { damping: 0.01, blocksize: 128 }),
        (error) => error instanceof InvalidStatisticsError && error.index === 3,
      );
    }
    await assert.rejects(
      factor(backend(), uploadHessian(backend(), h, 5, 64), { damping: 0.01, blocksize: 48 }),
      RangeError,
    );
    assert.equal(backend().counters.bytesLive, live);
  });
});

/** Asserts for every block that R_kk·U_kk = I and that U_kk is upper triangular. */
function assertInverseBlocks(u: Float32Array, r: Float32Array, n: number, blocksize: number): void {
  for (let k = 0; k < n; k += blocksize) {
    const size = Math.min(blocksize, n - k);
    const product: number[] = [], identity: number[] = [];
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        if (j < i) assert.equal(u[(k + i) * blocksize + j], 0);
        let sum = 0;
        for (let c = i; c <= j; c++) sum += r[(k + i) * n + k + c] * u[(k + c) * blocksize + j];
        product.push(sum);
        identity.push(i === j ? 1 : 0);
      }
    }
    assertClose(product, identity, 1e-3, { label: `block at ${k}` });
  }
}
