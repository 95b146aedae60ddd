/** Tests Wanda on every backend, in comparison with naive float64 code. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { InvalidStatisticsError } from "../../../src/layer/linalg/errors.ts";
import { relativeError, type SolveOptions } from "../../../src/layer/solvers/solver.ts";
import { solveWanda } from "../../../src/layer/solvers/wanda.ts";
import { referenceWanda } from "../../reference/wanda.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
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
  { rows: 127, cols: 129, edge: 50, dead: [0, 77, 128] },
  { rows: 60, cols: 302, edge: 64, forced: 0.2 },
  { rows: 70, cols: 700 },
];

const HALF: SolveOptions = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true };

/** Creates the layer of a case and a function that computes the reference solution of a request. Both are computed once. */
const prepare = memoize((layer: LayerCase) => {
  const { rows, cols, dead } = layer;
  const host = { ...makeLayer(rows, cols, { seed: rows, tokens: 50, dead }), forced: forcedFlags(layer) };
  const expected = memoize(({ sparsity, groups }: SolveCase) => referenceWanda(host, { sparsity, groups }));
  return { host, expected };
});

eachBackend("solveWanda()", (backend) => {
  for (const layer of CASES) {
    for (const request of [...SOLVE_CASES, FIVE_OF_SEVEN]) {
      it(`prunes ${describeCase(layer)} at ${request.name} like float64, and changes no kept weight`, async () => {
        const live = backend().counters.bytesLive, { cols, edge } = layer, { sparsity, pattern } = request;
        const { host } = prepare(layer), expected = prepare(layer).expected(request);
        const hessian = uploadHessian(backend(), host.hessian, cols, edge);
        const uploaded = uploadLayer(backend(), host, edge);
        const options = { sparsity, pattern, relativeError: true };
        const solution = await solveWanda(backend(), uploaded, hessian, options);
        await assertSolution(backend(), solution, expected);
        const { q, mask } = await readSolution(backend(), solution);
        assertSame(mask, expected.mask);
        assertSame(q, host.weight.map((value, i) => mask[i] ? value : 0));
        assertClose([solution.loss!], [expected.loss], 1e-4, { label: "loss" });
        assertClose([relativeError(solution)!], [expected.relativeError], 1e-4, { label: "relative error" });
        const delta = host.weight.map((value, i) => value - q[i]);
        assertSame(await readMatrix(backend(), uploaded.weight), delta);
        for (const resource of [solution, uploaded, hessian]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live);
      });
    }
  }

  it("prunes the exact total, and numbers per row that differ by at most one", async () => {
    const rows = 13, cols = 30, host = makeLayer(rows, cols, { seed: 5 });
    const hessian = uploadHessian(backend(), host.hessian, cols), layer = uploadLayer(backend(), host);
    const solution = await solveWanda(backend(), layer, hessian, { ...HALF, sparsity: 0.33 });
    const { mask } = await readSolution(backend(), solution);
    const zeros = Array.from(
      { length: rows },
      (_, r) => mask.subarray(r * cols, (r + 1) * cols).filter((kept) => !kept).length,
    );
    assert.equal(zeros.reduce((sum, count) => sum + count), Math.round(0.33 * rows * cols));
    assert.deepEqual([Math.min(...zeros), Math.max(...zeros)], [9, 10]);
    for (const resource of [solution, layer, hessian]) resource.destroy();
  });

  for (const pattern of [HALF.pattern, { kind: "n:m", keep: 2, group: 4 } as const]) {
    it(`chooses the same entries in several strips of rows (${pattern.kind})`, async () => {
      const host = makeLayer(40, 90, { seed: 10 }), masks: Uint8Array[] = [];
      // The limit holds the largest tile of the statistics, and a strip of seven rows.
      for (const device of [backend(), limitBuffers(backend(), 4 * 7 * 90)]) {
        const hessian = uploadHessian(device, host.hessian, 90, 20), layer = uploadLayer(device, host, 20);
        const solution = await solveWanda(device, layer, hessian, { ...HALF, pattern });
        masks.push((await readSolution(device, solution)).mask);
        for (const resource of [solution, layer, hessian]) resource.destroy();
      }
      assertSame(masks[1], masks[0]);
    });
  }

  it("refuses statistics with another tile edge or a negative diagonal entry, and frees everything", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(7, 100, { seed: 3 });
    const layer = uploadLayer(backend(), host, 64);
    const other = uploadHessian(backend(), host.hessian, 100, 128);
    await assert.rejects(solveWanda(backend(), layer, other, HALF), RangeError);
    host.hessian[5 * 100 + 5] = -1;
    const negative = uploadHessian(backend(), host.hessian, 100, 64);
    await assert.rejects(solveWanda(backend(), layer, negative, HALF), InvalidStatisticsError);
    for (const resource of [layer, other, negative]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
