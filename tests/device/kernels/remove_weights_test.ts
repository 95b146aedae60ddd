/**
 * Tests of remove_weights against a float64 replay. The replay stores the whole inverse Hessian. It removes
 * the same weights in the same order, and checks that each weight had the smallest score, except for rounding.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { removeWeights, WeightState } from "../../../src/device/kernels/remove_weights.ts";
import { choleskyInverse, choleskyLower } from "../../reference/cholesky.ts";
import { correlatedHessian, dampedHessian } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../../support/device.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

/** The n:m patterns of the tests. A group of 0 columns stands for an unstructured pattern. */
type Groups = readonly [keep: number, group: number];

/** Returns the operands of a test. The rows of all matrices are `ld` elements apart. */
function makeOperands(rows: number, cols: number, ld: number) {
  const hessian = dampedHessian(correlatedHessian(cols, { seed: cols }), cols, 0.01);
  const inverse = choleskyInverse(choleskyLower(hessian, cols), cols);
  const padded = new Float32Array(cols * ld), bounds = new Float32Array(ld);
  const weights = normals(rows * ld, 7), diagonal = new Float32Array(rows * ld);
  const states = new Uint32Array(rows * ld);
  for (let j = 0; j < cols; j++) {
    bounds[j] = 1 / hessian[j * cols + j];
    for (let i = 0; i < cols; i++) padded[j * ld + i] = inverse[j * cols + i];
    for (let r = 0; r < rows; r++) {
      diagonal[r * ld + j] = inverse[j * cols + j];
      states[r * ld + j] = WeightState.candidate;
    }
  }
  return { inverse: padded, bounds, weights, diagonal, states };
}

/** Runs the steps of all rows in dispatches of `stride` steps, and returns the contents of the output buffers. */
async function run(
  backend: Backend,
  operands: ReturnType<typeof makeOperands>,
  limits: Uint32Array<ArrayBuffer>,
  { cols, depth, stride, groups: [keep, group] }: {
    cols: number;
    depth: number;
    stride: number;
    groups: Groups;
  },
) {
  const rows = limits.length, ld = operands.bounds.length;
  const buffers = {
    inverse: upload(backend, operands.inverse),
    bounds: upload(backend, operands.bounds),
    limits: upload(backend, limits),
    weights: upload(backend, operands.weights),
    diagonal: upload(backend, operands.diagonal),
    states: upload(backend, operands.states),
    vectors: upload(backend, new Float32Array(rows * depth * ld).fill(NaN)),
    trace: upload(backend, new Uint32Array(rows * depth * 2)),
  };
  for (let start = 0; start < depth; start += stride) {
    const steps = Math.min(stride, depth - start);
    backend.dispatch(removeWeights, buffers, { rows, cols, ld, depth, start, steps, keep, group });
  }
  const [weights, states, trace] = [
    await downloadF32(backend, buffers.weights),
    await downloadU32(backend, buffers.states),
    await downloadU32(backend, buffers.trace),
  ];
  for (const buffer of Object.values(buffers)) buffer.destroy();
  return { weights, states, trace };
}

/** Repeats the removals of one row in float64, and returns its weights. Checks the score of each removal. */
function replay(
  inverse: Float32Array,
  ld: number,
  row: Float32Array,
  removals: readonly { column: number; score: number }[],
  mayGo: (column: number, removed: ReadonlySet<number>) => boolean,
): Float64Array {
  const n = row.length, w = Float64Array.from(row), removed = new Set<number>();
  const g = Float64Array.from({ length: n * n }, (_, i) => inverse[Math.floor(i / n) * ld + i % n]);
  for (const { column: p, score } of removals) {
    const scoreOf = (c: number) => Math.abs(w[c]) / Math.sqrt(g[c * n + c]);
    const allowed = [...w.keys()].filter((c) => !removed.has(c) && mayGo(c, removed));
    ok(allowed.includes(p), `column ${p} may not be removed in step ${removed.size}`);
    const least = Math.min(...allowed.map(scoreOf));
    assertClose([scoreOf(p)], [least], 1e-3, { label: `smallest score of step ${removed.size}` });
    assertClose([score], [scoreOf(p)], 1e-3, { label: `score of step ${removed.size}` });
    const column = Float64Array.from({ length: n }, (_, c) => g[c * n + p]),
      pivot = column[p],
      error = w[p] / pivot;
    for (let i = 0; i < n; i++) {
      w[i] -= error * column[i];
      for (let c = 0; c < n; c++) g[i * n + c] -= column[i] * column[c] / pivot;
    }
    removed.add(p);
    for (const c of removed) w[c] = 0;
  }
  return w;
}

/** Returns the removals of row r that the trace records. */
function removalsOf(trace: Uint32Array<ArrayBuffer>, r: number, depth: number) {
  const scores = new Float32Array(trace.buffer), found: { column: number; score: number }[] = [];
  for (let i = r * depth; i < (r + 1) * depth && trace[2 * i] > 0; i++) {
    found.push({ column: trace[2 * i] - 1, score: scores[2 * i + 1] });
  }
  return found;
}

const CASES: readonly (readonly [rows: number, cols: number, groups: Groups])[] = [
  [1, 1, [0, 0]],
  [3, 5, [0, 0]],
  [9, 37, [0, 0]],
  [4, 130, [0, 0]],
  [9, 38, [2, 4]],
  [5, 131, [1, 4]],
  [4, 37, [2, 5]],
  [3, 140, [50, 128]],
];

eachBackend("remove_weights", (backend) => {
  for (const [rows, cols, groups] of CASES) {
    const [keep, group] = groups;
    it(`removes the weights with the smallest scores of ${rows}×${cols}${group ? ` at ${keep}:${group}` : ""}`, async () => {
      const ld = Math.ceil(cols / 4) * 4 + 4, operands = makeOperands(rows, cols, ld);
      const mayGo = (c: number, removed: ReadonlySet<number>) => {
        if (group === 0) return true;
        const start = c - c % group, size = Math.min(group, cols - start);
        let left = 0;
        for (let other = start; other < start + size; other++) left += removed.has(other) ? 0 : 1;
        return left > Math.ceil(keep * size / group);
      };
      // Row r may take cols − r steps. With groups, a row stops earlier.
      const limits = Uint32Array.from({ length: rows }, (_, r) => Math.max(1, cols - r));
      const { weights, trace } = await run(backend(), operands, limits, {
        cols,
        depth: cols,
        stride: 13,
        groups,
      });
      for (let r = 0; r < rows; r++) {
        const removals = removalsOf(trace, r, cols);
        const kept = cols - removals.length;
        if (group === 0) strictEqual(removals.length, limits[r]);
        else strictEqual(kept, Math.floor(cols / group) * keep + Math.ceil(keep * (cols % group) / group));
        const row = operands.weights.slice(r * ld, r * ld + cols);
        const expected = replay(operands.inverse, ld, row, removals, mayGo);
        const actual = weights.slice(r * ld, r * ld + cols);
        assertClose(actual, expected, 1e-4, { label: "weights", scale: Math.max(...row.map(Math.abs)) });
        for (const { column } of removals) ok(Object.is(actual[column], 0), `weight ${column} is not 0`);
      }
    });
  }

  it("removes forced weights first, from left to right, and equal scores from left to right", async () => {
    const cols = 300, ld = 300, depth = 5;
    const diagonal = new Float32Array(ld).fill(1), weights = new Float32Array(ld).fill(-2);
    const inverse = new Float32Array(cols * ld), states = new Uint32Array(ld).fill(WeightState.candidate);
    for (let j = 0; j < cols; j++) inverse[j * ld + j] = 1;
    states[290] = states[7] = WeightState.forced;
    states[0] = WeightState.locked;
    weights[290] = 9;
    const operands = { inverse, bounds: diagonal, weights, diagonal, states };
    const result = await run(backend(), operands, Uint32Array.of(depth), {
      cols,
      depth,
      stride: 2,
      groups: [0, 0],
    });
    deepStrictEqual(removalsOf(result.trace, 0, depth), [
      { column: 7, score: 2 },
      { column: 290, score: 9 },
      { column: 1, score: 2 },
      { column: 2, score: 2 },
      { column: 3, score: 2 },
    ]);
    strictEqual(result.states[0], WeightState.locked);
  });

  it("locks a group when it has no more weights than it must keep, but still removes its forced weights", async () => {
    const cols = 8, ld = 8, depth = 8, ones = new Float32Array(ld).fill(1);
    const inverse = new Float32Array(cols * ld), states = new Uint32Array(ld).fill(WeightState.candidate);
    for (let j = 0; j < cols; j++) inverse[j * ld + j] = 1;
    states.fill(WeightState.forced, 0, 3);
    const weights = Float32Array.of(5, 6, 7, 1, 4, 3, 2, 1);
    const operands = { inverse, bounds: ones, weights, diagonal: ones, states };
    const result = await run(backend(), operands, Uint32Array.of(8), {
      cols,
      depth,
      stride: 8,
      groups: [2, 4],
    });
    deepStrictEqual(removalsOf(result.trace, 0, depth).map(({ column }) => column), [0, 1, 2, 7, 6]);
    deepStrictEqual(result.weights, Float32Array.of(0, 0, 0, 1, 4, 3, 0, 0));
  });
});
