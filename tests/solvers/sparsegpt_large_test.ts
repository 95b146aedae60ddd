/**
 * Tests the SparseGPT solve on a layer of several panels and blocks whose last block is partial, and counts the dispatches and reads that
 * a 512×512 layer takes.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { factor } from "../../src/linalg/factor.ts";
import { solveSparseGpt } from "../../src/solvers/sparsegpt.ts";
import { referenceFactor, referenceSparseGpt } from "../reference/sparsegpt.ts";
import { eachBackend } from "../support/backends.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../support/layers.ts";
import { memoize } from "../support/memoize.ts";
import { assertSolution, type Request, REQUESTS } from "../support/solution_checks.ts";

const ROWS = 640, COLS = 1100, BLOCKSIZE = 128;
const host = makeLayer(ROWS, COLS, { seed: 1, tokens: 400 });
const reference = referenceFactor(host.hessian, COLS, 0.01);
const expected = memoize(({ sparsity, groups }: Request) =>
  referenceSparseGpt(host, reference, { sparsity, groups, blocksize: BLOCKSIZE })
);

eachBackend("solveSparseGpt, several panels", (backend) => {
  for (const request of REQUESTS.filter(({ name }) => name === "50 %" || name === "2:4")) {
    it(`solves ${ROWS}×${COLS} at ${request.name} as the published algorithm does`, async () => {
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

eachBackend("work queued for a 512×512 layer", (backend) => {
  const small = makeLayer(512, 512, { seed: 2, tokens: 64 });

  /** Runs `work` and returns its result with the dispatches and the bytes that it read. */
  async function measure<T>(
    work: () => Promise<T>,
  ): Promise<{ result: T; dispatches: number; bytesRead: number }> {
    const { dispatches, bytesRead } = backend().counters;
    const result = await work();
    const now = backend().counters;
    return { result, dispatches: now.dispatches - dispatches, bytesRead: now.bytesRead - bytesRead };
  }

  // The layer has four blocks, one panel and one tile. More dispatches are a regression. If there are fewer, lower the numbers here.
  it("takes the recorded numbers of dispatches and bytes, without reads inside the factorisation or the solve", async () => {
    const hessian = uploadHessian(backend(), small.hessian, 512);
    const factoring = await measure(() =>
      factor(backend(), hessian, { damping: 0.01, blocksize: BLOCKSIZE })
    );
    const factored = factoring.result;
    assert.equal(factoring.dispatches, 17);
    assert.equal(
      factoring.bytesRead,
      4 * 512 + 4,
      "the diagonal is read before the factorisation, and the status after it",
    );

    const counts: Record<string, [dispatches: number, bytesRead: number]> = {};
    for (const relativeError of [false, true]) {
      for (const { name, sparsity, pattern } of REQUESTS) {
        const layer = uploadLayer(backend(), small);
        const { result, ...work } = await measure(() =>
          solveSparseGpt(backend(), layer, factored, { sparsity, pattern, relativeError })
        );
        counts[`${name}${relativeError ? " with its error" : ""}`] = [work.dispatches, work.bytesRead];
        result.destroy();
        layer.destroy();
      }
    }
    assert.deepEqual(counts["50 %"], [58, 2 * 4 * 512]);
    assert.deepEqual(counts["2:4"], [14, 2 * 4 * 512]);
    assert.deepEqual(counts["50 % with its error"], [64, 4 * 4 * 512]);
    assert.deepEqual(counts["90 %"], counts["50 %"]);
    factored.destroy();
  });
});
