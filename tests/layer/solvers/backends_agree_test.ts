/**
 * Checks that both backends give the same number of zeros and nearly the same masks and errors for the same
 * layer.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { tileEdgeFor } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { relativeError } from "../../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { createWebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { webgpuSkipReason } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { SOLVE_CASES, type SolveCase } from "../../support/solution_checks.ts";

const BLOCKSIZE = 128;

async function solve(backend: Backend, host: HostLayer, { sparsity, pattern }: SolveCase) {
  const edge = tileEdgeFor(BLOCKSIZE, 256);
  const hessian = uploadHessian(backend, host.hessian, host.cols, edge);
  const factored = await factor(backend, hessian, { damping: 0.01, blocksize: BLOCKSIZE });
  const layer = uploadLayer(backend, host, edge);
  const solution = await solveSparseGpt(backend, layer, factored, { sparsity, pattern, relativeError: true });
  const { mask } = await readSolution(backend, solution);
  for (const resource of [solution, layer, factored]) resource.destroy();
  return { mask, zeros: solution.zeros, relativeError: relativeError(solution)! };
}

describe("the cpu and webgpu backends", { skip: webgpuSkipReason }, () => {
  let cpu: Backend, webgpu: Backend;
  before(async () => {
    [cpu, webgpu] = [await createCpuBackend(), await createWebGpuBackend()];
  });
  after(async () => {
    await cpu.dispose();
    await webgpu.dispose();
  });

  for (const request of SOLVE_CASES) {
    it(`compute the same number of zeros and nearly the same mask and error at ${request.name}`, async () => {
      const host = makeLayer(211, 347, { seed: 5 });
      const a = await solve(cpu, host, request), b = await solve(webgpu, host, request);
      assert.equal(a.zeros, b.zeros);
      const equal = a.mask.reduce((sum, kept, i) => sum + Number(kept === b.mask[i]), 0);
      assert.ok(equal >= 0.999 * a.mask.length, `${equal} of ${a.mask.length} mask entries are equal`);
      assert.ok(Math.abs(a.relativeError / b.relativeError - 1) <= 0.005);
    });
  }
});
