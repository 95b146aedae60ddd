/** Tests TimedBackend, which measures the time of each group of kernels, and the measurements that use it. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { measureGemmRate } from "../../scripts/bench/measure/gemm_rate.ts";
import { TimedBackend, TRANSFERS } from "../../scripts/first_light/timed_backend.ts";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import { solveSparseGpt } from "../../src/layer/solvers/sparsegpt.ts";
import { assertSame } from "../support/assert_same.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";

const LAYER = makeLayer(40, 200, { seed: 3 });

async function solve(backend: Backend): Promise<Float32Array> {
  const factored = await factor(backend, uploadHessian(backend, LAYER.hessian, LAYER.cols), {
    damping: 0.01,
    blocksize: 128,
  });
  const layer = uploadLayer(backend, LAYER);
  const solution = await solveSparseGpt(backend, layer, factored, {
    sparsity: 0.5,
    pattern: { kind: "unstructured" },
    relativeError: false,
  });
  const { q } = await readSolution(backend, solution);
  for (const resource of [solution, layer, factored]) resource.destroy();
  await backend.finish();
  return q;
}

const backend = await createCpuBackend();
after(() => backend.dispose());

describe("TimedBackend", () => {
  it("computes the same bits as the wrapped backend, and frees its buffers", async () => {
    const expected = await solve(backend);
    const live = backend.counters.bytesLive;
    assertSame(await solve(new TimedBackend(backend, (kernel) => kernel)), expected);
    assert.equal(backend.counters.bytesLive, live);
  });

  it("adds the time of every kernel to its group exactly once", async () => {
    const timed = new TimedBackend(backend, (kernel) => kernel.startsWith("gemm") ? "products" : "rest");
    const started = performance.now();
    await solve(timed);
    const elapsed = (performance.now() - started) / 1000, seconds = timed.takeSeconds();
    assert.deepEqual([...seconds.keys()].sort(), ["products", "rest", TRANSFERS]);
    const sum = [...seconds.values()].reduce((total, value) => total + value, 0);
    assert.ok(sum > 0 && sum <= elapsed, `${sum} of ${elapsed} s`);
    assert.equal(timed.takeSeconds().size, 0);
  });

  it("runs no recorded call before the caller waits for the device", async () => {
    const timed = new TimedBackend(backend, (kernel) => kernel);
    const buffer = timed.createBuffer("words", 8), bytes = new Uint8Array(8).fill(1);
    timed.write(buffer, 0, bytes);
    bytes.fill(2); // the caller may reuse its array
    assert.equal(timed.takeSeconds().size, 0);
    assert.deepEqual(await timed.read(buffer, 0, 8), new Uint8Array(8).fill(1));
    buffer.destroy();
    buffer.destroy();
    await timed.finish();
  });

  it("rejects a buffer that another backend created", () => {
    const timed = new TimedBackend(backend, (kernel) => kernel), own = backend.createBuffer("own", 4);
    timed.clear(own);
    return assert.rejects(timed.finish(), TypeError).finally(() => own.destroy());
  });

  it("measures the rate of the matrix product", async () => {
    const live = backend.counters.bytesLive;
    const { order, gflops } = await measureGemmRate(backend, 64);
    assert.equal(order, 64);
    assert.ok(gflops > 0 && Number.isFinite(gflops));
    assert.equal(backend.counters.bytesLive, live);
  });
});
