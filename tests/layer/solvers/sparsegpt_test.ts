/** Compares the SparseGPT solve on every backend with the published algorithm in float64. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { tileEdgeFor } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { relativeError, type SolveOptions } from "../../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { referenceFactor, referenceSparseGpt } from "../../reference/sparsegpt.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { memoize } from "../../support/memoize.ts";
import { normals, uniform } from "../../../scripts/fixtures/random.ts";
import { assertSolution, SOLVE_CASES, type SolveCase } from "../../support/solution_checks.ts";

/**
 * A layer to solve. If `edge` is given, the layer has several tiles of this size. `dead` lists the inputs
 * that are always 0.
 */
interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly blocksize: number;
  readonly edge?: number;
  readonly dead?: readonly number[];
}

const CASES: readonly Case[] = [
  { rows: 1, cols: 1, blocksize: 128 },
  { rows: 7, cols: 5, blocksize: 128 },
  { rows: 127, cols: 129, blocksize: 128 },
  { rows: 172, cols: 172, blocksize: 64, edge: 64 },
  { rows: 150, cols: 300, blocksize: 32, edge: 64, dead: [0, 3, 77, 299] },
  { rows: 70, cols: 203, blocksize: 48, edge: 96 },
  { rows: 300, cols: 172, blocksize: 128, edge: 256 },
  { rows: 40, cols: 1200, blocksize: 128, edge: 16384 }, // a panel of 1024 columns, as on a GPU
  { rows: 513, cols: 384, blocksize: 128 },
];

const HALF: SolveOptions = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true };
const TWO_OF_FOUR: SolveOptions = { ...HALF, pattern: { kind: "n:m", keep: 2, group: 4 } };

function describeCase({ rows, cols, blocksize, edge }: Case): string {
  return `${rows}×${cols} in blocks of ${blocksize}${edge ? ` and tiles of ${edge}` : ""}`;
}

/**
 * Creates the layer of a case, and a function that computes the reference solution of a request. Both results
 * are stored.
 */
const prepare = memoize(({ rows, cols, blocksize, dead }: Case) => {
  const host = makeLayer(rows, cols, { seed: rows + cols, dead });
  const reference = referenceFactor(host.hessian, cols, 0.01);
  const expected = memoize(({ sparsity, groups }: SolveCase) =>
    referenceSparseGpt(host, reference, { sparsity, groups, blocksize })
  );
  return { host, expected };
});

/** Factors the statistics of `host`, solves it, passes the solution to `use`, and frees everything. */
async function solve(
  backend: Backend,
  host: HostLayer,
  { blocksize, edge = tileEdgeFor(blocksize) }: Pick<Case, "blocksize" | "edge">,
  options: SolveOptions,
  use: (solution: Awaited<ReturnType<typeof solveSparseGpt>>) => void | Promise<void>,
): Promise<void> {
  const live = backend.counters.bytesLive;
  const hessian = uploadHessian(backend, host.hessian, host.cols, edge);
  const factored = await factor(backend, hessian, { damping: 0.01, blocksize });
  const layer = uploadLayer(backend, host, edge);
  const solution = await solveSparseGpt(backend, layer, factored, options);
  await use(solution);
  for (const resource of [solution, layer, factored]) resource.destroy();
  assert.equal(backend.counters.bytesLive, live, "no bytes may stay allocated");
}

eachBackend("solveSparseGpt()", (backend) => {
  for (const layer of CASES) {
    for (const request of SOLVE_CASES) {
      it(`computes the same solution as the published algorithm for ${describeCase(layer)} at ${request.name}`, async () => {
        const { host, expected } = prepare(layer), { sparsity, pattern } = request;
        await solve(backend(), host, layer, { sparsity, pattern, relativeError: true }, async (solution) => {
          await assertSolution(backend(), solution, expected(request));
        });
      });
    }
  }

  it("prunes nothing at sparsity 0, and does not change the weights", async () => {
    const host = makeLayer(40, 70, { seed: 5 });
    await solve(
      backend(),
      host,
      { blocksize: 32, edge: 64 },
      { ...HALF, sparsity: 0 },
      async (solution) => {
        const { q, mask } = await readSolution(backend(), solution);
        assertSame(q, host.weight);
        assert.ok(mask.every((kept) => kept === 1));
        assert.deepEqual([solution.zeros, solution.loss, relativeError(solution)], [0, 0, 0]);
      },
    );
  });

  it("returns a relative error of 0 and the exact number of zeros if all weights are 0", async () => {
    const rows = 33, cols = 50;
    const host = { ...makeLayer(rows, cols, { seed: 6 }), weight: new Float32Array(rows * cols) };
    await solve(backend(), host, { blocksize: 32 }, HALF, async (solution) => {
      const { q, mask } = await readSolution(backend(), solution);
      assert.deepEqual(q, host.weight);
      assert.equal(mask.reduce((sum, kept) => sum + 1 - kept, 0), rows * cols / 2);
      assert.deepEqual([solution.zeros, solution.loss, relativeError(solution)], [rows * cols / 2, 0, 0]);
    });
  });

  for (const options of [HALF, { ...HALF, sparsity: 0.05 }, TWO_OF_FOUR]) {
    const { sparsity, pattern } = options;
    it(`prunes forced entries with pattern ${pattern.kind} and sparsity ${sparsity}`, async () => {
      const rows = 60, cols = 150, next = uniform(8);
      // The forced entries are a whole row, most entries of a block of columns, more entries of some groups
      // than the pattern prunes, and scattered entries.
      const forced = Uint8Array.from(
        { length: rows * cols },
        (_, i) => i < cols || (i % cols < 40 && i % 5 < 4) || next() < 0.03 ? 1 : 0,
      );
      const host = { ...makeLayer(rows, cols, { seed: 7 }), forced };
      const groups = pattern.kind === "n:m" ? pattern : undefined;
      const expected = referenceSparseGpt(host, referenceFactor(host.hessian, cols, 0.01), {
        sparsity,
        groups,
        blocksize: 32,
      });
      await solve(backend(), host, { blocksize: 32, edge: 64 }, options, async (solution) => {
        await assertSolution(backend(), solution, expected);
        const { mask } = await readSolution(backend(), solution);
        forced.forEach((flag, i) => assert.ok(!(flag && mask[i]), `forced entry ${i} is kept`));
      });
    });
  }

  it("prunes entries with equal scores in row-major order", async () => {
    const rows = 20, cols = 64;
    const host = makeLayer(rows, cols, { seed: 9 });
    host.weight.fill(1);
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 1;
    await solve(backend(), host, { blocksize: 32 }, { ...HALF, sparsity: 0.3 }, async (solution) => {
      const { mask } = await readSolution(backend(), solution);
      // In each block of 32 columns, 0.3·640 = 192 entries are pruned, which are the first six rows.
      const expected = Uint8Array.from({ length: rows * cols }, (_, i) => Math.floor(i / cols) < 6 ? 0 : 1);
      assert.deepEqual(mask, expected);
    });
  });

  for (const options of [HALF, TWO_OF_FOUR]) {
    it(`computes the same bits in every run (${options.pattern.kind})`, async () => {
      const host = makeLayer(100, 172, { seed: 10 });
      const runs: unknown[] = [];
      for (let run = 0; run < 2; run++) {
        await solve(backend(), host, { blocksize: 64, edge: 128 }, options, async (solution) => {
          const { q, mask } = await readSolution(backend(), solution);
          runs.push([q, mask, solution.loss, relativeError(solution)]);
        });
      }
      assertSame(runs[0], runs[1]);
    });
  }

  it("solves several layers with one factor", async () => {
    const cols = 129, blocksize = 64, host = makeLayer(30, cols, { seed: 11 });
    const reference = referenceFactor(host.hessian, cols, 0.01);
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, cols), {
      damping: 0.01,
      blocksize,
    });
    for (const rows of [30, 70]) {
      const next = { ...host, rows, weight: normals(rows * cols, rows) };
      const layer = uploadLayer(backend(), next);
      const solution = await solveSparseGpt(backend(), layer, factored, HALF);
      await assertSolution(
        backend(),
        solution,
        referenceSparseGpt(next, reference, { sparsity: 0.5, blocksize }),
      );
      solution.destroy();
      layer.destroy();
    }
    factored.destroy();
  });

  it("overwrites the weight with Δ = W − Q, and computes the relative error only on request", async () => {
    const host = makeLayer(40, 70, { seed: 12 }), blocksize = 32;
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70), {
      damping: 0.01,
      blocksize,
    });
    const layer = uploadLayer(backend(), host);
    const solution = await solveSparseGpt(backend(), layer, factored, { ...HALF, relativeError: false });
    assert.equal(relativeError(solution), null);
    const { q } = await readSolution(backend(), solution);
    const { q: delta } = await readSolution(backend(), { ...solution, q: layer.weight });
    assertSame(delta, host.weight.map((value, i) => value - q[i]));
    for (const resource of [solution, layer, factored]) resource.destroy();
  });

  it("rejects operands that do not fit together, and frees everything", async () => {
    const host = makeLayer(8, 70, { seed: 13 }), live = backend().counters.bytesLive;
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70, 64), {
      damping: 0.01,
      blocksize: 32,
    });
    const wrong: [HostLayer, number, SolveOptions][] = [
      [makeLayer(8, 69, { seed: 13 }), 64, HALF],
      [host, 128, HALF],
      [host, 64, { ...HALF, pattern: { kind: "n:m", keep: 2, group: 5 } }],
    ];
    for (const [other, edge, options] of wrong) {
      const layer = uploadLayer(backend(), other, edge);
      await assert.rejects(solveSparseGpt(backend(), layer, factored, options), RangeError);
      layer.destroy();
    }
    factored.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
