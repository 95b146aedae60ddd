/** ExactOBS on every backend, compared with a naive float64 form. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { type Backend, OutOfDeviceMemoryError } from "../../../src/device/backend.ts";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { MAX_REMOVAL_COLUMNS } from "../../../src/device/kernels/remove_weights.ts";
import { NotPositiveDefiniteError } from "../../../src/layer/linalg/errors.ts";
import { LayerSizeError, relativeError } from "../../../src/layer/solvers/solver.ts";
import { type ObcOptions, type ObcSolution, solveObc } from "../../../src/layer/solvers/obc.ts";
import { checkObcSize } from "../../../src/layer/solvers/obc/weight_removal.ts";
import { withOverrides } from "../../../scripts/self_check/faults/with_dispatch.ts";
import { referenceObc } from "../../reference/obc.ts";
import type { ReferenceSolution } from "../../reference/sparsegpt.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { limitBuffers } from "../../support/limited_backend.ts";
import { memoize } from "../../support/memoize.ts";
import {
  assertSolution,
  describeCase,
  FIVE_OF_SEVEN,
  forcedFlags,
  type LayerCase,
  SOLVE_CASES,
  type SolveCase,
} from "../../support/solution_checks.ts";

const CASES: readonly LayerCase[] = [
  { rows: 1, cols: 1 },
  { rows: 7, cols: 5 },
  { rows: 20, cols: 37, edge: 16, dead: [0, 3, 36] },
  { rows: 45, cols: 66, edge: 32, forced: 0.2 },
  { rows: 12, cols: 129, edge: 64 },
];

const HALF: ObcOptions = {
  sparsity: 0.5,
  pattern: { kind: "unstructured" },
  relativeError: true,
  damping: 0.01,
};

/** Creates the layer of a case and a function that computes the reference solution of a request. Both are computed once. */
const prepare = memoize((layer: LayerCase) => {
  const { rows, cols, dead } = layer;
  const host: HostLayer = {
    ...makeLayer(rows, cols, { seed: rows + cols, dead }),
    forced: forcedFlags(layer),
  };
  const expected = memoize(({ sparsity, groups }: SolveCase) =>
    referenceObc(host, { sparsity, groups, damping: 0.01 })
  );
  return { host, expected };
});

/** Solves `host`, passes the solution to `use`, frees everything, and checks that nothing stays allocated. */
async function solve(
  backend: Backend,
  host: HostLayer,
  options: ObcOptions,
  use: (solution: ObcSolution) => void | Promise<void>,
  edge?: number,
): Promise<void> {
  const live = backend.counters.bytesLive;
  const hessian = uploadHessian(backend, host.hessian, host.cols, edge);
  const layer = uploadLayer(backend, host, edge);
  const solution = await solveObc(backend, layer, hessian, options);
  await use(solution);
  for (const resource of [solution, layer, hessian]) resource.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
}

/** Asserts that masks are equal, and that errors agree much more closely than `assertSolution` requires. */
async function assertSameSolution(backend: Backend, solution: ObcSolution, expected: ReferenceSolution) {
  await assertSolution(backend, solution, expected);
  const { mask } = await readSolution(backend, solution);
  const different = mask.reduce((sum, kept, i) => sum + Number(kept !== expected.mask[i]), 0);
  assert.equal(different, 0, "mask entries that differ");
  assertClose([solution.loss!], [expected.loss], 1e-4, { label: "loss" });
  assertClose([relativeError(solution)!], [expected.relativeError], 1e-4, { label: "relative error" });
}

eachBackend("solveObc()", (backend) => {
  for (const layer of CASES) {
    for (const request of [...SOLVE_CASES, FIVE_OF_SEVEN]) {
      it(`computes the same solution of ${describeCase(layer)} at ${request.name} as float64`, async () => {
        const { host, expected } = prepare(layer), { sparsity, pattern } = request;
        const use = (solution: ObcSolution) => assertSameSolution(backend(), solution, expected(request));
        await solve(backend(), host, { ...HALF, sparsity, pattern }, use, layer.edge);
        const forced = host.forced ?? [], { mask } = expected(request);
        forced.forEach((flag, i) => assert.ok(!(flag && mask[i]), `forced entry ${i} is kept`));
      });
    }
  }

  it("prunes nothing at sparsity 0, and does not change the weights", async () => {
    const host = makeLayer(9, 30, { seed: 5 });
    await solve(backend(), host, { ...HALF, sparsity: 0 }, async (solution) => {
      const { q, mask } = await readSolution(backend(), solution);
      assert.deepEqual(q, host.weight);
      assert.ok(mask.every((kept) => kept === 1));
      assert.deepEqual([solution.zeros, solution.loss, relativeError(solution)], [0, 0, 0]);
    });
  });

  it("removes weights with equal scores in row-major order", async () => {
    const rows = 6, cols = 20, host = makeLayer(rows, cols, { seed: 9 });
    host.weight.fill(1);
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 1;
    await solve(backend(), host, { ...HALF, sparsity: 0.3 }, async (solution) => {
      const { mask } = await readSolution(backend(), solution);
      assert.deepEqual(mask, Uint8Array.from({ length: rows * cols }, (_, i) => i < 36 ? 0 : 1));
    });
  });

  it("adds damping until an indefinite H becomes positive definite, and reports it", async () => {
    const host = makeLayer(5, 3, { seed: 6 });
    host.hessian.set([1, 1.05, 0, 1.05, 1, 0, 0, 0, 1]);
    const expected = referenceObc(host, { sparsity: 0.5, damping: 0.1 });
    await solve(backend(), host, HALF, async (solution) => {
      assert.equal(solution.damping, 0.1);
      await assertSameSolution(backend(), solution, expected);
    });
  });

  it("refuses an H that no damping makes positive definite, and frees everything", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(5, 2, { seed: 6 });
    host.hessian.set([1, 9, 9, 1]);
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, 2);
    await assert.rejects(solveObc(backend(), layer, hessian, HALF), NotPositiveDefiniteError);
    layer.destroy();
    hessian.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("frees everything if the device has no room for the vectors", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(9, 70, { seed: 6 });
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, 70);
    const failing = withOverrides(backend(), {
      createBuffer(label, byteLength) {
        if (label === "vectors of a batch") throw new OutOfDeviceMemoryError(`buffer ${label}: no room`);
        return backend().createBuffer(label, byteLength);
      },
    });
    await assert.rejects(solveObc(failing, layer, hessian, HALF), OutOfDeviceMemoryError);
    layer.destroy();
    hessian.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("overwrites the weight with Δ = W − Q, and leaves the upper triangle of H as it was", async () => {
    const host = makeLayer(11, 40, { seed: 12 });
    const hessian = uploadHessian(backend(), host.hessian, 40), layer = uploadLayer(backend(), host);
    const solution = await solveObc(backend(), layer, hessian, { ...HALF, relativeError: false });
    assert.equal(relativeError(solution), null);
    const { q } = await readSolution(backend(), solution);
    assert.deepEqual(await readMatrix(backend(), layer.weight), host.weight.map((value, i) => value - q[i]));
    assert.deepEqual(await readMatrix(backend(), hessian), host.hessian);
    for (const resource of [solution, layer, hessian]) resource.destroy();
  });

  for (const pattern of [HALF.pattern, { kind: "n:m", keep: 2, group: 4 } as const]) {
    it(`computes the same bits in every run, and in several batches of rows (${pattern.kind})`, async () => {
      const host = makeLayer(30, 70, { seed: 10 }), runs: unknown[] = [];
      // The vectors of one row take at most 70·72 elements, so this buffer holds the vectors of four rows.
      const batched = limitBuffers(backend(), 4 * 4 * 70 * 72);
      for (const device of [backend(), backend(), batched]) {
        await solve(device, host, { ...HALF, pattern }, async (solution) => {
          const { q, mask } = await readSolution(device, solution);
          runs.push([q, mask, solution.loss, relativeError(solution)]);
        });
      }
      assertSame(runs[1], runs[0]);
      assertSame(runs[2], runs[0]);
    });
  }

  it("rejects statistics of another order, and layers that are too large, before it allocates anything", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(8, 30, { seed: 13 });
    const layer = uploadLayer(backend(), host),
      wide = uploadLayer(backend(), {
        rows: 1,
        cols: MAX_REMOVAL_COLUMNS + 1,
        weight: new Float32Array(MAX_REMOVAL_COLUMNS + 1),
        hessian: host.hessian,
      });
    const hessian = uploadHessian(backend(), makeLayer(1, 29, { seed: 1 }).hessian, 29);
    const allocated = backend().counters.bytesLive;
    await assert.rejects(solveObc(backend(), layer, hessian, HALF), RangeError);
    await assert.rejects(solveObc(backend(), wide, hessian, HALF), LayerSizeError);
    assert.equal(backend().counters.bytesLive, allocated);
    for (const resource of [layer, wide, hessian]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});

it("checkObcSize() accepts layers up to the limits, and names the limit and sparsegpt for others", () => {
  checkObcSize(768, 3072);
  checkObcSize(2048, 2048);
  assert.throws(() => checkObcSize(1, 3073), {
    name: "LayerSizeError",
    message:
      "obc: a layer of 1×3073 has 3073 columns, but at most 3072 are possible; use the method sparsegpt",
  });
  assert.throws(() => checkObcSize(3072, 3072), {
    name: "LayerSizeError",
    message:
      "obc: a layer of 3072×3072 has rows·cols³ = 8.9e+13, but at most 3.5e+13 is possible; use the method sparsegpt",
  });
});
