/**
 * Tests the solve as it runs on a hardware GPU: with the shaders for hardware, products with transposed
 * operands, and tiles and panels as large as those of a GPU. The adapter of the
 * tests may be a software adapter, so the solver is shown an adapter that says it is hardware.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { relativeError } from "../../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { assertClose } from "../../support/assert_close.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { webgpuSuite } from "./suite.ts";

/** Wraps `backend` so that its adapter seems to be a hardware GPU. */
function asHardware(backend: Backend): Backend {
  return new Proxy(backend, {
    get(target, key) {
      if (key === "adapter") return { ...target.adapter, software: false };
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const ROWS = 40, COLS = 1200;

async function solve(backend: Backend, edge: number) {
  const layer = makeLayer(ROWS, COLS, { seed: 5, tokens: 300 });
  const hessian = uploadHessian(backend, layer.hessian, COLS, edge);
  const factored = await factor(backend, hessian, { damping: 0.01, blocksize: 128 });
  const operands = uploadLayer(backend, layer, edge);
  const options = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true } as const;
  const { dispatches } = backend.counters;
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
    const plain = await solve(backend(), 16384), hardware = await solve(asHardware(backend()), 16384);
    assert.equal(hardware.zeros, plain.zeros);
    assert.equal(hardware.zeros, ROWS * COLS / 2);
    assertClose([hardware.error], [plain.error], 1e-4);
    assert.equal(hardware.dispatches, plain.dispatches);
  });
}, { tiling: "discrete" });
