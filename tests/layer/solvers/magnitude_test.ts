/** Compares magnitude pruning on every backend with a float64 reference. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { relativeError, type SolveOptions } from "../../../src/layer/solvers/solver.ts";
import { solveMagnitude } from "../../../src/layer/solvers/magnitude.ts";
import { referenceMagnitude } from "../../reference/sparsegpt.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { memoize } from "../../support/memoize.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { assertSolution, SOLVE_CASES, type SolveCase } from "../../support/solution_checks.ts";

const CASES: [rows: number, cols: number, edge?: number][] = [
  [1, 1],
  [7, 5],
  [127, 129],
  [172, 172, 64],
  [300, 520, 256],
  [70, 700],
];

const HALF: SolveOptions = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true };

/**
 * Creates the layer of a size, and a function that computes the reference solution of a request. Both results
 * are stored.
 */
const prepare = memoize(([rows, cols]: [rows: number, cols: number, edge?: number]) => {
  const host = makeLayer(rows, cols, { seed: rows, tokens: 50 });
  const expected = memoize(({ sparsity, groups }: SolveCase) =>
    referenceMagnitude(host, { sparsity, groups })
  );
  return { host, expected };
});

eachBackend("solveMagnitude()", (backend) => {
  for (const size of CASES) {
    const [rows, cols, edge] = size;
    for (const request of SOLVE_CASES) {
      it(`prunes a ${rows}×${cols} layer${edge ? ` in tiles of ${edge}` : ""} at ${request.name}`, async () => {
        const live = backend().counters.bytesLive, { sparsity, pattern } = request;
        const { host } = prepare(size), expected = prepare(size).expected(request);
        const hessian = uploadHessian(backend(), host.hessian, cols, edge);
        const layer = uploadLayer(backend(), host, edge);
        const options = { sparsity, pattern, relativeError: true };
        const solution = await solveMagnitude(backend(), layer, hessian, options);
        await assertSolution(backend(), solution, expected);
        const { q, mask } = await readSolution(backend(), solution);
        assertSame(mask, expected.mask);
        assertSame(q, host.weight.map((value, i) => mask[i] ? value : 0));
        for (const resource of [solution, layer, hessian]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live);
      });
    }
  }

  it("needs no statistics, and computes no error without them", async () => {
    const host = makeLayer(7, 5, { seed: 1 }), layer = uploadLayer(backend(), host);
    const solution = await solveMagnitude(backend(), layer, undefined, HALF);
    assert.deepEqual([solution.zeros, solution.loss, relativeError(solution)], [18, null, null]);
    solution.destroy();
    layer.destroy();
  });

  it("prunes equal weights in row-major order, across blocks and tiles", async () => {
    const rows = 80, cols = 600;
    const host: HostLayer = {
      rows,
      cols,
      weight: new Float32Array(rows * cols).fill(-2),
      hessian: new Float32Array(0),
    };
    const layer = uploadLayer(backend(), host, 64);
    const solution = await solveMagnitude(backend(), layer, undefined, { ...HALF, sparsity: 0.3 });
    const { mask } = await readSolution(backend(), solution);
    assertSame(mask, Uint8Array.from({ length: rows * cols }, (_, i) => i < 0.3 * rows * cols ? 0 : 1));
    solution.destroy();
    layer.destroy();
  });

  for (const { name, sparsity, pattern, groups } of SOLVE_CASES) {
    it(`prunes forced entries at ${name}`, async () => {
      const rows = 60, cols = 300, next = uniform(8);
      const forced = Uint8Array.from({ length: rows * cols }, (_, i) => i < cols || next() < 0.2 ? 1 : 0);
      const host = { ...makeLayer(rows, cols, { seed: 2, tokens: 50 }), forced };
      const hessian = uploadHessian(backend(), host.hessian, cols), layer = uploadLayer(backend(), host);
      const options = { sparsity, pattern, relativeError: true };
      const solution = await solveMagnitude(backend(), layer, hessian, options);
      const expected = referenceMagnitude(host, { sparsity, groups });
      await assertSolution(backend(), solution, expected);
      assertSame((await readSolution(backend(), solution)).mask, expected.mask);
      for (const resource of [solution, layer, hessian]) resource.destroy();
    });
  }

  it("rejects statistics with another tile edge, and groups that extend over two tiles", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(7, 100, { seed: 3 });
    const layer = uploadLayer(backend(), host, 64);
    const other = uploadHessian(backend(), host.hessian, 100, 128);
    await assert.rejects(solveMagnitude(backend(), layer, other, HALF), RangeError);
    const odd: SolveOptions = { ...HALF, pattern: { kind: "n:m", keep: 2, group: 5 } };
    await assert.rejects(solveMagnitude(backend(), layer, undefined, odd), RangeError);
    layer.destroy();
    other.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
