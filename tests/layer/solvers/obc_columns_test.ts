/** The removal of whole columns on every backend, compared with a naive float64 form. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { NotPositiveDefiniteError } from "../../../src/layer/linalg/errors.ts";
import type { ObcSolution } from "../../../src/layer/solvers/obc.ts";
import { type ColumnOptions, solveColumns } from "../../../src/layer/solvers/obc_columns.ts";
import { removedColumns } from "../../../src/tensor/pattern.ts";
import { referenceColumns } from "../../reference/columns.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { assertSolution } from "../../support/solution_checks.ts";

/** A layer to solve. If `edge` is given, the tiles are so small that there are several. */
interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly sparsity: number;
  readonly edge?: number;
  readonly dead?: readonly number[];
}

const CASES: readonly Case[] = [
  { rows: 1, cols: 1, group: 1, sparsity: 0.9 },
  { rows: 7, cols: 5, group: 1, sparsity: 0.5 },
  { rows: 20, cols: 37, group: 1, sparsity: 0.3, edge: 16, dead: [0, 3, 36] },
  { rows: 33, cols: 48, group: 6, sparsity: 0.5, edge: 32 },
  { rows: 9, cols: 40, group: 20, sparsity: 0.9, dead: [7] },
  // More columns are removed than the host remembers before the device changes its matrices.
  { rows: 5, cols: 130, group: 1, sparsity: 0.6 },
  { rows: 5, cols: 144, group: 9, sparsity: 0.6, edge: 64 },
];

function optionsOf({ group, sparsity, edge = 128 }: Omit<Case, "rows" | "cols">): ColumnOptions {
  const pattern = { kind: "columns", group } as const;
  return { pattern, sparsity, damping: 0.01, blocksize: Math.min(edge, 16), relativeError: true };
}

/** Solves `host`, passes the solution to `use`, frees everything, and checks that nothing stays allocated. */
async function solve(
  backend: Backend,
  host: HostLayer,
  options: ColumnOptions,
  use: (solution: ObcSolution, delta: Float32Array) => void | Promise<void>,
  edge?: number,
): Promise<void> {
  const live = backend.counters.bytesLive;
  const hessian = uploadHessian(backend, host.hessian, host.cols, edge);
  const layer = uploadLayer(backend, host, edge);
  const solution = await solveColumns(backend, layer, hessian, options);
  await use(solution, await readMatrix(backend, layer.weight));
  for (const resource of [solution, layer, hessian]) resource.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
}

eachBackend("solveColumns()", (backend) => {
  for (const each of CASES) {
    const { rows, cols, group, sparsity, edge, dead } = each;
    it(`removes the same columns of ${rows}×${cols} in sets of ${group} at ${sparsity} as float64`, async () => {
      const host = makeLayer(rows, cols, { seed: rows + cols, dead });
      const count = removedColumns({ kind: "columns", group }, sparsity, cols);
      const expected = referenceColumns(host, { sets: count / group, group, damping: 0.01 });
      await solve(backend(), host, optionsOf(each), async (solution) => {
        await assertSolution(backend(), solution, expected);
        const kept = Array.from({ length: cols }, (_, j) => j).filter((j) => !expected.removed.includes(j));
        assert.deepEqual([...solution.kept!], kept);
        assert.equal(solution.zeros, rows * count);
        const { q } = await readSolution(backend(), solution);
        assertClose(q, expected.q, 1e-4, { label: "least-squares weights" });
        // The sum of all ΔE is the error with the damped H.
        const increase = expected.increases.reduce((sum, value) => sum + value, 0);
        const measured = solution.rowErrors!.reduce((sum, value) => sum + value, 0);
        assertClose([measured], [increase], 1e-4, { label: "increase of the error" });
      }, edge);
    });
  }

  it("takes the first of sets with equal scores, and leaves weights without correlations as they were", async () => {
    const rows = 4, cols = 12, host = makeLayer(rows, cols, { seed: 3 });
    host.weight.fill(1);
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 2;
    await solve(backend(), host, optionsOf({ group: 3, sparsity: 0.5 }), async (solution, delta) => {
      assert.deepEqual([...solution.kept!], [6, 7, 8, 9, 10, 11]);
      const { q } = await readSolution(backend(), solution);
      assert.deepEqual(q, Float32Array.from({ length: rows * cols }, (_, i) => i % cols < 6 ? 0 : 1));
      assert.deepEqual(delta, host.weight.map((value, i) => value - q[i]));
    });
  });

  it("removes nothing at sparsity 0", async () => {
    const host = makeLayer(6, 20, { seed: 5 });
    await solve(backend(), host, optionsOf({ group: 1, sparsity: 0 }), async (solution) => {
      const { q } = await readSolution(backend(), solution);
      assert.deepEqual(q, host.weight);
      assert.deepEqual([solution.zeros, solution.loss, solution.kept!.length], [0, 0, 20]);
    });
  });

  it("adds damping until an indefinite H becomes positive definite, and reports it", async () => {
    const host = makeLayer(5, 3, { seed: 6 });
    host.hessian.set([1, 1.05, 0, 1.05, 1, 0, 0, 0, 1]);
    const expected = referenceColumns(host, { sets: 1, group: 1, damping: 0.1 });
    await solve(backend(), host, optionsOf({ group: 1, sparsity: 0.3 }), async (solution) => {
      assert.equal(solution.damping, 0.1);
      const { q } = await readSolution(backend(), solution);
      assertClose(q, expected.q, 1e-4);
      assert.equal(solution.loss, null); // The error with the indefinite H is negative.
    });
  });

  it("refuses an H that no damping makes positive definite, and frees everything", async () => {
    const live = backend().counters.bytesLive, host = makeLayer(5, 2, { seed: 6 });
    host.hessian.set([1, 9, 9, 1]);
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, 2);
    const solving = solveColumns(backend(), layer, hessian, optionsOf({ group: 1, sparsity: 0.5 }));
    await assert.rejects(solving, NotPositiveDefiniteError);
    layer.destroy();
    hessian.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
