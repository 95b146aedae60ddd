/**
 * Tests compiling kernels before their first use. A warmed backend must compile nothing while it solves its
 * first layer.
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { doubleAndAdd, malformed } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

const COMPILING = ["createShaderModule", "createComputePipeline", "createComputePipelineAsync"] as const;

/** Replaces the methods of `device` that compile by methods that also count their calls. */
function countCompilations(device: GPUDevice): Record<(typeof COMPILING)[number], number> {
  const counts = { createShaderModule: 0, createComputePipeline: 0, createComputePipelineAsync: 0 };
  for (const name of COMPILING) {
    const compile = device[name].bind(device) as (descriptor: never) => unknown;
    Object.defineProperty(device, name, {
      value: (descriptor: never) => {
        counts[name]++;
        return compile(descriptor);
      },
    });
  }
  return counts;
}

/** Factors and solves one small layer. */
async function solveOne(backend: WebGpuBackend): Promise<void> {
  const layer = makeLayer(40, 96, { seed: 1 });
  const factored = await factor(backend, uploadHessian(backend, layer.hessian, 96), {
    damping: 0.01,
    blocksize: 32,
  });
  const operands = uploadLayer(backend, layer);
  const solution = await solveSparseGpt(backend, operands, factored, {
    sparsity: 0.5,
    pattern: { kind: "unstructured" },
    relativeError: true,
  });
  for (const resource of [solution, operands, factored]) resource.destroy();
}

webgpuSuite("warming a WebGPU backend", (cold) => {
  it("compiles all kernels that a layer needs, whereas a cold backend compiles them during its first layer", async () => {
    const warm = await createWebGpuBackend({ warm: KERNELS });
    try {
      const counts = countCompilations(warm.device);
      await solveOne(warm);
      deepStrictEqual(counts, {
        createShaderModule: 0,
        createComputePipeline: 0,
        createComputePipelineAsync: 0,
      });
    } finally {
      await warm.dispose();
    }
    const counts = countCompilations(cold().device);
    await solveOne(cold());
    ok(counts.createComputePipeline > 5 && counts.createShaderModule > 3, JSON.stringify(counts));
  });

  it("compiles each kernel once and each shader source once, even if warm() is called several times", async () => {
    const fresh = await createWebGpuBackend();
    try {
      const counts = countCompilations(fresh.device);
      await Promise.all([fresh.warm(KERNELS), fresh.warm(KERNELS)]);
      await fresh.warm(KERNELS);
      // The products of forward passes and statistics share their shaders with other products.
      const shaders = new Set(
        KERNELS.map(({ shader, softwareShader }) =>
          fresh.adapter.software ? softwareShader ?? shader : shader
        ),
      );
      strictEqual(counts.createComputePipelineAsync, shaders.size);
      strictEqual(counts.createComputePipeline, 0);
      const sources = new Set([...shaders].map(({ code }) => code));
      strictEqual(counts.createShaderModule, sources.size);
    } finally {
      await fresh.dispose();
    }
  });

  it("fails with the error of a kernel that does not compile, and the backend still works afterwards", async () => {
    const refusal = { message: /kernel malformed does not compile[^]*y\[i\] = ;[^]*\^/ };
    await rejects(createWebGpuBackend({ warm: [doubleAndAdd, malformed] }), refusal);
    await rejects(cold().warm([malformed]), refusal);
    await cold().warm([doubleAndAdd]);
    await cold().warm([]);
    await cold().finish();
  });
});
