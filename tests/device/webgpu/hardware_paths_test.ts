/**
 * Tests the solve as it runs on a hardware GPU: with the shaders for hardware, and tiles and panels as large as those
 * of a GPU. It is compared with a solve that uses the default shaders of the adapter of the tests.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { createWebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { relativeError } from "../../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { assertClose } from "../../support/assert_close.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { webgpuSuite } from "./suite.ts";

const ROWS = 40, COLS = 1200, EDGE = 16384;

async function solve(backend: Backend) {
  const layer = makeLayer(ROWS, COLS, { seed: 5, tokens: 300 });
  const hessian = uploadHessian(backend, layer.hessian, COLS, EDGE);
  const { dispatches } = backend.counters;
  const factored = await factor(backend, hessian, { damping: 0.01, blocksize: 128 });
  const operands = uploadLayer(backend, layer, EDGE);
  const options = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true } as const;
  const solution = await solveSparseGpt(backend, operands, factored, options);
  const result = {
    zeros: solution.zeros,
    error: relativeError(solution)!,
    dispatches: backend.counters.dispatches - dispatches,
  };
  for (const resource of [solution, operands, factored]) resource.destroy();
  return result;
}

webgpuSuite("a solve on hardware", (backend) => {
  it("prunes as many weights as on other adapters with the same error, in as many dispatches", async () => {
    const other = await createWebGpuBackend();
    const plain = await solve(other), hardware = await solve(backend());
    await other.dispose();
    assert.equal(hardware.zeros, plain.zeros);
    assert.equal(hardware.zeros, ROWS * COLS / 2);
    assertClose([hardware.error], [plain.error], 1e-4);
    assert.equal(hardware.dispatches, plain.dispatches);
  });
}, { tiling: "discrete" });
