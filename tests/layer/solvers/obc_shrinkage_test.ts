/** The choice of the shrinkage with which columns are removed, on every backend, compared with a naive float64 form. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import {
  LARGEST_SHRUNK_ERROR,
  SHRINKAGE_PARTS,
  solveColumns,
} from "../../../src/layer/solvers/obc_columns.ts";
import { type ReferenceColumns, referenceColumns } from "../../reference/columns.ts";
import { shrunkHessian } from "../../reference/damping.ts";
import { quadraticForm } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";

const ROWS = 12, COLS = 40, DAMPING = 0.01, EDGE = 16;

interface Trial {
  readonly solution: ReferenceColumns;
  /** The error on H itself. */
  readonly loss: number;
  /** The error as a share of tr(W·H·Wᵀ). */
  readonly share: number;
}

/** Removes `count` columns with the shrunk H. */
function removeWith(host: HostLayer, count: number, shrinkage: number): Trial {
  const hessian = shrunkHessian(host.hessian, COLS, shrinkage);
  const solution = referenceColumns({ ...host, hessian }, { sets: count, group: 1, damping: DAMPING });
  const delta = Float64Array.from(host.weight, (value, i) => value - solution.q[i]);
  const loss = quadraticForm(delta, host.hessian, ROWS, COLS);
  return { solution, loss, share: loss / quadraticForm(host.weight, host.hessian, ROWS, COLS) };
}

eachBackend("solveColumns() with a shrunk H", (backend) => {
  /** Solves `host`, and compares the solution with that of float64 with the shrinkage `expected`. */
  async function assertShrinkage(host: HostLayer, count: number, expected: number): Promise<void> {
    const live = backend().counters.bytesLive,
      { solution: reference, loss } = removeWith(host, count, expected);
    const layer = uploadLayer(backend(), host, EDGE),
      hessian = uploadHessian(backend(), host.hessian, COLS, EDGE);
    const solution = await solveColumns(backend(), layer, hessian, {
      ...{ pattern: { kind: "columns", group: 1 }, sparsity: count / COLS, damping: DAMPING },
      ...{ blocksize: EDGE, relativeError: true, shrinks: true },
    });
    assert.equal(solution.shrinkage ?? 0, expected);
    assert.deepEqual([...reference.removed].sort((a, b) => a - b), [
      ...Array.from({ length: COLS }, (_, j) => j).filter((j) => !solution.kept!.includes(j)),
    ]);
    const { q } = await readSolution(backend(), solution);
    assertClose(q, reference.q, 1e-4, { label: "weights" });
    assertClose(
      await readMatrix(backend(), layer.weight),
      host.weight.map((value, i) => value - q[i]),
      1e-6,
      {
        label: "change of the weights",
      },
    );
    assertClose([solution.loss!], [loss], 1e-3, { label: "error on H" });
    const form = quadraticForm(host.weight, host.hessian, ROWS, COLS);
    assertClose([solution.weightForm!], [form], 1e-4, { label: "size of the outputs" });
    for (const resource of [solution, layer, hessian]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
  }

  for (const [count, seed, expected] of [[24, 4, 5], [24, 5, 5]] as const) {
    it(`shrinks H by ${expected} of ${SHRINKAGE_PARTS} parts, with which the error of layer ${seed} is just small enough`, async () => {
      const host = makeLayer(ROWS, COLS, { seed }), part = 1 / SHRINKAGE_PARTS;
      assert.ok(removeWith(host, count, expected * part).share < LARGEST_SHRUNK_ERROR);
      assert.ok(removeWith(host, count, (expected + 1) * part).share > LARGEST_SHRUNK_ERROR);
      await assertShrinkage(host, count, expected * part);
    });
  }

  it("takes the largest shrinkage if the error is small with each, also with dead inputs", async () => {
    const host = makeLayer(ROWS, COLS, { seed: 6, dead: [2, 5] }), largest = 1 - 1 / SHRINKAGE_PARTS;
    assert.ok(removeWith(host, 10, largest).share < LARGEST_SHRUNK_ERROR);
    await assertShrinkage(host, 10, largest);
  });

  it("does not shrink H if the error is larger in any case, or if nothing is removed", async () => {
    const host = makeLayer(ROWS, COLS, { seed: 5 });
    assert.ok(removeWith(host, 32, 0).share > LARGEST_SHRUNK_ERROR);
    await assertShrinkage(host, 32, 0);
    await assertShrinkage(host, 0, 0);
  });
});
