/**
 * Pruning and rounding in one pass in activation order, and the properties that hold in both orders of the columns. The
 * results are compared with the published algorithm in float64.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import {
  checkRounded,
  DAMPING,
  solveRounded,
  UNSTRUCTURED,
  WHOLE_ROWS,
} from "../../support/rounded_cases.ts";

eachBackend("solveSparseGpt() with quantization in both orders of the columns", (backend) => {
  for (const [bits, symmetric, sparsity] of [[4, false, 0.5], [3, true, 0.5], [4, false, 0]] as const) {
    const grids = `${symmetric ? "symmetric" : "asymmetric"} ${bits}-bit grids`;
    it(`rounds in activation order at sparsity ${sparsity} with ${grids}, and returns the natural order`, async () => {
      const host = makeLayer(70, 203, { seed: 14, dead: [0, 50] }),
        quantization = { ...WHOLE_ROWS, bits, symmetric };
      const order = "activation", next = uniform(15);
      await checkRounded(backend(), { host, blocksize: 48, edge: 96, sparsity, quantization, order });
      const forced = Uint8Array.from({ length: 70 * 203 }, (_, i) => i < 203 || next() < 0.1 ? 1 : 0);
      const fixedMask = Uint8Array.from({ length: 70 * 203 }, () => next() < 0.6 ? 1 : 0);
      await checkRounded(backend(), {
        host: { ...host, forced },
        blocksize: 48,
        edge: 96,
        sparsity,
        quantization,
        order,
      });
      await checkRounded(backend(), { host, blocksize: 48, edge: 96, quantization, order, fixedMask });
    });
  }

  it("raises the damping if the statistics are not positive definite, and rounds with it", async () => {
    const cols = 70, host = makeLayer(30, cols, { seed: 17 });
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 1;
    host.hessian[3 * cols + 40] = host.hessian[40 * cols + 3] = 1.05;
    for (const order of ["natural", "activation"] as const) {
      const solved = { host, blocksize: 32, edge: 64, quantization: { ...WHOLE_ROWS, bits: 4 }, order };
      await checkRounded(backend(), solved);
      await solveRounded(backend(), solved, (_solution, damping) => {
        assert.equal(damping, 0.1);
        return Promise.resolve();
      });
    }
  });

  it("overwrites the weight with Δ = W − Q in natural order", async () => {
    const host = makeLayer(20, 70, { seed: 16 });
    for (const order of ["natural", "activation"] as const) {
      const hessian = uploadHessian(backend(), host.hessian, 70, 64);
      const factored = await factor(backend(), hessian, { damping: DAMPING, blocksize: 32, order });
      const layer = uploadLayer(backend(), host, 64);
      const solution = await solveSparseGpt(backend(), layer, factored, {
        sparsity: 0.5,
        pattern: UNSTRUCTURED,
        relativeError: false,
        quantization: { ...WHOLE_ROWS, bits: 4, order },
      });
      const q = await readMatrix(backend(), solution.q), delta = await readMatrix(backend(), layer.weight);
      assert.deepEqual(delta, host.weight.map((value, i) => value - q[i]));
      for (const resource of [solution, layer, factored]) resource.destroy();
    }
  });
});
