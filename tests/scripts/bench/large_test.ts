/**
 * Tests the large bench with small layers. A matrix is stored in rectangular tiles, which are as small as one
 * block of columns here, so that the code for several tiles runs. Also tests that the checks of the bench
 * detect wrong results.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { benchLarge } from "../../../scripts/bench/large/bench_large.ts";
import { FactorChecker } from "../../../scripts/bench/large/check_factor.ts";
import { SolutionChecker } from "../../../scripts/bench/large/check_solution.ts";
import {
  isDead,
  type LargeShape,
  makeHessian,
  makeInputs,
  makeWeight,
  weightRow,
} from "../../../scripts/bench/large/large_layer.ts";
import { evenlySpaced, readRow, readTiles, type TileValues } from "../../../scripts/bench/large/read_rows.ts";
import { type LargeRun, withRun } from "../../../scripts/bench/large/large_file.ts";
import { largeTable } from "../../../scripts/bench/large/table.ts";
import type { Tile } from "../../../src/backend/tiled_matrix.ts";
import { readMatrix } from "../../../src/backend/tiled_matrix.ts";
import { DEFAULT_BLOCKSIZE } from "../../../src/protocol/limits.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";

/**
 * A layer with three full columns of tiles and a narrower fourth. One of its inputs is dead, which means that
 * it is 0 in every token.
 */
const SHAPE: LargeShape = {
  rows: 130,
  cols: 3 * DEFAULT_BLOCKSIZE + 37,
  tokens: 50,
  edge: DEFAULT_BLOCKSIZE,
};

eachBackend("the large bench", (backend) => {
  it("solves a layer of several tiles and passes its own checks", async () => {
    const lines: string[] = [];
    const result = await benchLarge(backend(), SHAPE, (line) => lines.push(line));
    assert.equal(result.zeros, Math.round(SHAPE.rows * SHAPE.cols / 2));
    assert.ok(result.factorCheck.residual < 1e-6 && result.solutionCheck.residual < 1e-5);
    assert.equal(result.factorCheck.rowsChecked, 8);
    assert.deepEqual(lines.map((line) => line.split(":")[0]), ["statistics", "factor", "solve", "check"]);
  });

  it("accumulates the Hessian H from the calibration inputs", async () => {
    const shape = { rows: 1, cols: 70, tokens: 9, edge: 32 };
    const inputs = makeInputs(shape);
    const hessian = await makeHessian(backend(), inputs, shape);
    for (const i of [0, 31, 69]) {
      const expected = Float64Array.from({ length: 70 }, (_, j) => {
        let sum = 0;
        for (let t = 0; t < 9; t++) sum += inputs[t * 70 + i] * inputs[t * 70 + j];
        return sum;
      });
      const actual = await readRow(backend(), hessian, i);
      assertClose(actual.subarray(i), expected.subarray(i), 1e-6);
    }
    assert.ok(isDead(31) && inputs[31] === 0);
    hessian.destroy();
  });

  it("creates the same weights whether they are made by rows or by tiles", async () => {
    const shape = { rows: 5, cols: 70, tokens: 1, edge: 4 };
    const weight = makeWeight(backend(), shape);
    const whole = await readMatrix(backend(), weight);
    for (let row = 0; row < 5; row++) {
      assert.deepEqual(whole.subarray(70 * row, 70 * (row + 1)), weightRow(row, shape));
    }
    let tiles = 0;
    for await (const [, values] of readTiles(backend(), weight)) tiles += values.length > 0 ? 1 : 0;
    assert.equal(tiles, 36);
    weight.destroy();
  });
});

describe("the checks of the large bench", () => {
  const shape: LargeShape = { rows: 1, cols: 2, tokens: 1, edge: 2 };
  const tile = { rows: 2, cols: 2, ld: 2, row0: 0, col0: 0 } as unknown as Tile;
  const r: TileValues = [tile, Float32Array.of(1, 0.5, NaN, 1)];
  const allKept = new Uint32Array([3]), noneKept = new Uint32Array([0]);

  it("reject a weight that differs from the recursion", async () => {
    const checker = new SolutionChecker([0], shape, allKept, 1);
    checker.add(r);
    const [first, second] = weightRow(0, shape);
    await assert.rejects(
      checker.compare(() => Promise.resolve(Float32Array.of(first, second * 1.001))),
      /Q: row 0 differs by .* of its norm/,
    );
  });

  it("reject a pruned entry that is not 0", async () => {
    const checker = new SolutionChecker([0], shape, noneKept, 1);
    checker.add(r);
    await assert.rejects(
      checker.compare(() => Promise.resolve(Float32Array.of(0, 0.25))),
      /entry \(0, 1\) is pruned but is 0.25/,
    );
  });

  it("carry the error of a pruned weight to the next kept weight", async () => {
    const checker = new SolutionChecker([0], shape, new Uint32Array([2]), 1);
    checker.add(r);
    const [first, second] = weightRow(0, shape);
    // With weights W = (w₀, w₁) and R = (1, 0.5; 0, 1), the change is Δ = (w₀, −0.5·w₀), and Q = W − Δ.
    const q = Float32Array.of(0, second + first * 0.5);
    assert.ok((await checker.compare(() => Promise.resolve(q))).residual < 1e-7);
  });

  it("reject a factor that belongs to different calibration statistics", async () => {
    const inputs = makeInputs(shape);
    const backend = { read: () => Promise.resolve(new Uint8Array(Float32Array.of(1, 0.5).buffer)) };
    const matrix = { cols: 2, edge: 2, storage: "upper", tileCols: 1, tile: () => tile };
    const checker = await FactorChecker.start(backend as never, matrix as never, [0]);
    checker.add(r);
    assert.throws(() => checker.compare(inputs, shape, 0.01), /R·Rᵀ: element \(0, 0\) is 1.25, but H has/);
  });
});

describe("the results of the large bench", () => {
  const run = (cols: number, adapter: string, seconds: number) => ({
    backend: "cpu",
    adapter,
    rows: 2,
    cols,
    phases: Object.fromEntries(
      ["statistics", "factor", "solve", "check"].map((
        phase,
      ) => [phase, { seconds, cpuSeconds: 2 * seconds }]),
    ),
    factorFlops: 3e9,
    solveFlops: 1e9,
    deviceBytes: 2 ** 30,
    factorCheck: { residual: 1e-7 },
    solutionCheck: { residual: 2e-7 },
  } as unknown as LargeRun);

  it("replace an earlier run of the same size on the same adapter, and are ordered by size", () => {
    const runs = withRun([run(8, "a", 1), run(4, "a", 1), run(4, "b", 1)], run(4, "a", 2));
    assert.deepEqual(
      runs.map(({ cols, adapter, phases }) => [cols, adapter, phases.factor.seconds]),
      [[4, "b", 1], [4, "a", 2], [8, "a", 1]],
    );
  });

  it("are shown as one table row per layer", () => {
    const lines = largeTable({ layers: [run(8, "a", 1.5)] }).split("\n");
    assert.equal(
      lines[2],
      "| 2 × 8 | a | 1.5 (3.0) | 1.5 (3.0) | 1.0 | 1.5 (3.0) | 0.3 | 1.00 | – | 1.0e-7 | 2.0e-7 |",
    );
  });

  it("come from rows that are evenly spaced", () => {
    assert.deepEqual(evenlySpaced(10, 4), [0, 3, 6, 9]);
    assert.deepEqual(evenlySpaced(2, 8), [0, 1]);
    assert.deepEqual(evenlySpaced(1, 8), [0]);
  });
});
