/** ALPS and the refit on every backend, compared with naive float64 code, with SparseGPT, and with the best weights on a mask. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { tileEdgeFor } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { ALPS_SCHEDULES, type AlpsSolution, solveAlps } from "../../../src/layer/solvers/alps.ts";
import { refit, type RefitReport } from "../../../src/layer/solvers/refit.ts";
import { scaleStatistics } from "../../../src/layer/solvers/scaled_statistics.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { referenceAlps } from "../../reference/alps.ts";
import { dampedHessian, quadraticForm } from "../../reference/hessian.ts";
import { referenceRefit } from "../../reference/refit.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { memoize } from "../../support/memoize.ts";
import { SOLVE_CASES, type SolveCase } from "../../support/solution_checks.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const DAMPING = 0.01;

/** A layer to solve. If `edge` is given, the tiles are so small that there are several. */
const CASES = [
  { rows: 7, cols: 5, blocksize: 128 },
  { rows: 65, cols: 97, blocksize: 128 },
  { rows: 40, cols: 131, blocksize: 32, edge: 64, dead: [0, 3, 77, 130] },
];

const hostOf = memoize(({ rows, cols, dead }: typeof CASES[number]) =>
  makeLayer(rows, cols, { seed: 3, dead, tokens: 2 * cols })
);

/** Returns the result of the float64 reference. It is computed once for both backends. */
const expectedOf = memoize((shape: typeof CASES[number]) =>
  memoize(({ sparsity, groups }: SolveCase) =>
    referenceAlps(hostOf(shape), { sparsity, groups, damping: DAMPING, schedule: ALPS_SCHEDULES.default })
  )
);

/** Uploads a layer with both forms of its statistics, calls `use`, and checks that everything was freed. */
async function withOperands(
  backend: Backend,
  host: HostLayer,
  { blocksize, edge = tileEdgeFor(blocksize) }: { blocksize: number; edge?: number },
  use: (operands: {
    layer: ReturnType<typeof uploadLayer>;
    factored: Awaited<ReturnType<typeof factor>>;
    statistics: Awaited<ReturnType<typeof scaleStatistics>>;
  }) => Promise<void>,
): Promise<void> {
  const live = backend.counters.bytesLive;
  const factored = await factor(backend, uploadHessian(backend, host.hessian, host.cols, edge), {
    damping: DAMPING,
    blocksize,
  });
  const statistics = await scaleStatistics(
    backend,
    uploadHessian(backend, host.hessian, host.cols, edge),
    DAMPING,
  );
  const layer = uploadLayer(backend, host, edge);
  await use({ layer, factored, statistics });
  for (const resource of [layer, factored, statistics]) resource.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
}

/** Asserts that pruned weights are 0, that the numbers of zeros agree, and that the reported loss is the loss of the weights. */
async function assertConsistent(
  backend: Backend,
  solution: AlpsSolution,
  host: HostLayer,
): Promise<Uint8Array> {
  const { q, mask, paddingBits } = await readSolution(backend, solution);
  const { rows, cols, weight, hessian } = host;
  assert.equal(paddingBits, 0, "padding bits of the mask");
  assert.equal(solution.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0), "zeros reported");
  mask.forEach((kept, i) => kept || assert.ok(Object.is(q[i], 0), `pruned entry ${i} is ${q[i]}`));
  const delta = Float64Array.from(q, (value, i) => weight[i] - value);
  assertClose([solution.loss!], [quadraticForm(delta, hessian, rows, cols)], 2e-3, { label: "loss" });
  return mask;
}

function prunedCount({ sparsity, groups }: SolveCase, { rows, cols }: HostLayer): number {
  if (!groups) return Math.round(sparsity * rows * cols);
  const { keep, group } = groups, rest = cols % group;
  return rows * (Math.floor(cols / group) * (group - keep) + rest - Math.ceil((keep * rest) / group));
}

eachBackend("solveAlps()", (backend) => {
  for (const shape of CASES) {
    for (const request of SOLVE_CASES) {
      it(`prunes ${shape.rows}×${shape.cols} at ${request.name} with the error of the float64 reference, and never worse than SparseGPT`, async () => {
        const host = hostOf(shape), { sparsity, pattern } = request;
        const options = { sparsity, pattern, relativeError: true };
        let sparseLoss = 0;
        await withOperands(backend(), host, shape, async ({ layer, factored }) => {
          const solution = await solveSparseGpt(backend(), layer, factored, options);
          sparseLoss = solution.loss!;
          solution.destroy();
        });
        await withOperands(backend(), host, shape, async ({ layer, factored, statistics }) => {
          const alps = { ...options, effort: "default" as const, refitSteps: 60 };
          const solution = await solveAlps(backend(), layer, factored, statistics, alps);
          const mask = await assertConsistent(backend(), solution, host);
          assert.equal(mask.length - mask.reduce((sum, kept) => sum + kept, 0), prunedCount(request, host));
          assert.ok(
            solution.loss! <= sparseLoss * (1 + 1e-6),
            `alps ${solution.loss}, sparsegpt ${sparseLoss}`,
          );
          const expected = expectedOf(shape)(request);
          // Rounding in f32 can swap entries with nearly equal magnitudes, and the iterations then differ a little.
          const best = Math.min(expected.loss, sparseLoss);
          assert.ok(solution.loss! <= best * 1.02, `alps ${solution.loss}, reference ${expected.loss}`);
          solution.destroy();
        });
      });
    }
  }

  for (const sparsity of [0.5, 0]) {
    const effect = sparsity > 0
      ? "keeps forced entries pruned, and prunes no more than the sparsity if few are forced"
      : "only refits with the sparsity 0, because there is no mask to find";
    it(effect, async () => {
      const next = uniform(4), base = makeLayer(65, 129, { seed: 5, tokens: 300 });
      const forced = Uint8Array.from(base.weight, () => Number(next() < 0.2)), host = { ...base, forced };
      await withOperands(backend(), host, { blocksize: 64 }, async ({ layer, factored, statistics }) => {
        const pattern = { kind: "unstructured" } as const;
        const options = { sparsity, pattern, relativeError: false, effort: "fast", refitSteps: 10 } as const;
        const solution = await solveAlps(backend(), layer, factored, statistics, options);
        const mask = await assertConsistent(backend(), solution, host);
        if (sparsity > 0) {
          forced.forEach((flag, i) => assert.ok(!(flag && mask[i]), `forced entry ${i} is kept`));
          assert.equal(solution.zeros, Math.round(sparsity * 65 * 129));
        } else {
          assertSame(mask, forced.map((flag) => 1 - flag));
          assert.deepEqual([solution.iterations, solution.refitSteps, solution.keptSparseGpt], [
            0,
            10,
            false,
          ]);
        }
        solution.destroy();
      });
    });
  }

  it("does no more than sparsegpt if nothing is pruned", async () => {
    const host = makeLayer(65, 129, { seed: 7, tokens: 300 });
    const options = { sparsity: 0, pattern: { kind: "unstructured" }, relativeError: true } as const;
    const counts: number[] = [];
    for (const method of ["sparsegpt", "alps"]) {
      await withOperands(backend(), host, { blocksize: 64 }, async ({ layer, factored, statistics }) => {
        const before = backend().counters.dispatches;
        const solution = method === "sparsegpt"
          ? await solveSparseGpt(backend(), layer, factored, options)
          : await solveAlps(backend(), layer, factored, statistics, {
            ...options,
            effort: "default",
            refitSteps: 10,
          });
        counts.push(backend().counters.dispatches - before);
        assert.deepEqual([solution.loss, solution.zeros], [0, 0]);
        assertSame((await readSolution(backend(), solution)).q, host.weight);
        solution.destroy();
      });
    }
    assert.equal(counts[1], counts[0]);
  });
});

eachBackend("refit()", (backend) => {
  for (const shape of CASES) {
    it(`finds the best weights for the mask of ${shape.rows}×${shape.cols} in many steps, and never raises the loss in few steps`, async () => {
      const host = makeLayer(shape.rows, shape.cols, { seed: 8, dead: shape.dead, tokens: 2 * shape.cols });
      const { rows, cols, hessian } = host;
      const reports: RefitReport[] = [];
      for (const steps of [0, 1, 3, 150]) {
        await withOperands(backend(), host, shape, async ({ layer, factored, statistics }) => {
          const options = { sparsity: 0.6, pattern: { kind: "unstructured" }, relativeError: false } as const;
          const solution = await solveSparseGpt(backend(), layer, factored, options);
          const report = await refit(
            backend(),
            { delta: layer.weight, q: solution.q, mask: solution.mask },
            statistics,
            steps,
          );
          reports.push(report);
          assertClose([report.before.loss!], [solution.loss!], 2e-3, { label: "loss before" });
          if (steps === 150) {
            const { mask } = await readSolution(backend(), solution);
            const weight = host.weight.map((value, i) => hessian[(i % cols) * (cols + 1)] === 0 ? 0 : value);
            const best = referenceRefit({ ...host, weight }, dampedHessian(hessian, cols, DAMPING), mask);
            const delta = best.map((value, i) => weight[i] - value);
            assertClose([report.after.loss!], [quadraticForm(delta, hessian, rows, cols)], 5e-3, {
              label: "loss",
            });
          }
          solution.destroy();
        });
      }
      reports.forEach(({ before, after: { loss } }, i) => {
        assert.ok(loss! <= before.loss!);
        if (i > 0) assert.ok(loss! <= reports[i - 1].after.loss! * (1 + 1e-6), `${loss} after more steps`);
      });
    });
  }
});
