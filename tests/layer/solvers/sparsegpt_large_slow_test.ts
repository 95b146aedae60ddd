/**
 * Tests the SparseGPT solve of a layer with several panels of columns and a partial last block. Also records
 * how much work a solve of a 512×512 layer queues.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { referenceFactor, referenceSparseGpt } from "../../reference/sparsegpt.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { memoize } from "../../support/memoize.ts";
import { assertSolution, SOLVE_CASES, type SolveCase } from "../../support/solution_checks.ts";

const ROWS = 640, COLS = 1100, BLOCKSIZE = 128;
const host = makeLayer(ROWS, COLS, { seed: 1, tokens: 400 });
const reference = referenceFactor(host.hessian, COLS, 0.01);
const expected = memoize(({ sparsity, groups }: SolveCase) =>
  referenceSparseGpt(host, reference, { sparsity, groups, blocksize: BLOCKSIZE })
);

eachBackend("solveSparseGpt() with several panels", (backend) => {
  for (const request of SOLVE_CASES.filter(({ name }) => name === "50 %" || name === "2:4")) {
    it(`computes the same solution as the published algorithm for a ${ROWS}×${COLS} layer at ${request.name}`, async () => {
      const { sparsity, pattern } = request;
      const hessian = uploadHessian(backend(), host.hessian, COLS);
      const factored = await factor(backend(), hessian, { damping: 0.01, blocksize: BLOCKSIZE });
      const layer = uploadLayer(backend(), host);
      const solution = await solveSparseGpt(backend(), layer, factored, {
        sparsity,
        pattern,
        relativeError: true,
      });
      await assertSolution(backend(), solution, expected(request));
      for (const resource of [solution, layer, factored]) resource.destroy();
    });
  }
});

eachBackend("the work queued for a 512×512 layer", (backend) => {
  const small = makeLayer(512, 512, { seed: 2, tokens: 64 });

  /** Runs `work` and counts its dispatches and the bytes that it reads. */
  async function measure<T>(
    work: () => Promise<T>,
  ): Promise<{ result: T; dispatches: number; bytesRead: number }> {
    const { dispatches, bytesRead } = backend().counters;
    const result = await work();
    const now = backend().counters;
    return { result, dispatches: now.dispatches - dispatches, bytesRead: now.bytesRead - bytesRead };
  }

  // The layer has four blocks, one panel and one tile. More dispatches than recorded are a regression. If
  // there are fewer, lower the recorded numbers.
  it("has the recorded numbers of dispatches and of bytes that are read back", async () => {
    const hessian = uploadHessian(backend(), small.hessian, 512);
    const factoring = await measure(() =>
      factor(backend(), hessian, { damping: 0.01, blocksize: BLOCKSIZE })
    );
    const factored = factoring.result;
    assert.equal(factoring.dispatches, 13);
    assert.equal(
      factoring.bytesRead,
      4 * 512 + 4,
      "only the diagonal before and the status after the factorisation are read",
    );

    const figures: Record<string, [dispatches: number, bytesRead: number]> = {};
    for (const relativeError of [false, true]) {
      for (const { name, sparsity, pattern } of SOLVE_CASES) {
        const layer = uploadLayer(backend(), small);
        const { result, ...work } = await measure(() =>
          solveSparseGpt(backend(), layer, factored, { sparsity, pattern, relativeError })
        );
        figures[`${name}${relativeError ? " with its error" : ""}`] = [work.dispatches, work.bytesRead];
        result.destroy();
        layer.destroy();
      }
    }
    assert.deepEqual(figures["50 %"], [23, 2 * 4 * 512]);
    assert.deepEqual(figures["2:4"], [14, 2 * 4 * 512]);
    assert.deepEqual(figures["50 % with its error"], [29, 4 * 4 * 512]);
    assert.deepEqual(figures["90 %"], figures["50 %"]);
    factored.destroy();
  });
});
