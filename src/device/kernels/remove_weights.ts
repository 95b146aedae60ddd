/**
 * Removes weights of a matrix one at a time, independently in each row. This is the inner loop of ExactOBS (Frantar &
 * Alistarh, arXiv 2208.11580, algorithm 1). A step removes the weight w[p] with the smallest score |w[p]|/√d[p], where
 * d is the diagonal of the row's inverse Hessian G, and updates the other weights so that they compensate for it:
 *
 *   w −= G[:,p]·w[p]/G[p,p];  G −= G[:,p]·G[p,:]/G[p,p].
 *
 * All rows start with the same G = H⁻¹, and no row stores its own G. A row stores the vectors v_i =
 * G[:,p_i]/√G[p_i,p_i] of its steps, because step i subtracts v_i·v_iᵀ from G, and computes the one column of G that
 * step k needs: G[:,p] = H⁻¹[:,p] − Σ_{i<k} v_i·v_i[p]. So step k reads k vectors, and does not read and write the
 * whole of G.
 */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { below, filled, positives, signed, words } from "./kernel_case.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/remove_weights.wgsl" with { type: "text" };

/** The most columns. The coefficients of all steps take 12 KiB. Every adapter has 16 KiB of workgroup memory. */
export const MAX_REMOVAL_COLUMNS = 3072;

export const WeightState = {
  /** The weight is 0 and stays 0. */
  removed: 0,
  /** The weight may be removed. */
  candidate: 1,
  /** The weight must be removed, before all candidates. */
  forced: 2,
  /** The weight may not be removed, because its group would keep too few weights. */
  locked: 3,
} as const;

/**
 * Runs the steps `start` … `start` + `steps` − 1 of each row r < `rows`. A row stops after its step limits[r] − 1, or
 * when it has neither candidates nor forced weights left. Weights with equal scores are removed from left to right.
 * With `group` > 0, the candidates of a group of `group` consecutive columns become locked as soon as the group has no
 * more than `keep` weights left. A last group of g < `group` columns keeps ceil(keep·g/group).
 *
 * Rows of `inverse`, `weights`, `diagonal`, `states` and `vectors` are `ld` elements apart, a multiple of 4. The
 * `states` of the padding must be 0.
 *
 * - `inverse`, (cols, ld) f32: H⁻¹.
 * - `bounds`, (ld) f32: 1/H[j,j], which is a lower bound of d[j]. If rounding errors make d[j] smaller, it is set to
 *   the bound.
 * - `limits`, (rows) u32: the number of steps after which each row stops.
 * - `weights`, (rows, ld) f32: w.
 * - `diagonal`, (rows, ld) f32: d, which is the diagonal of H⁻¹ before step 0.
 * - `states`, (rows, ld) u32: a `WeightState` for each weight.
 * - `vectors`, (rows, depth, ld) f32: v_i of each step i.
 * - `trace`, (rows, depth, 2) u32: for each step, 1 + p, and the bits of the score as f32.
 */
export const removeWeights = defineKernel({
  name: "remove_weights",
  bindings: {
    inverse: "read",
    bounds: "read",
    limits: "read",
    weights: "read_write",
    diagonal: "read_write",
    states: "read_write",
    vectors: "read_write",
    trace: "read_write",
  },
  params: u32("rows", "cols", "ld", "depth", "start", "steps", "keep", "group"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () =>
    ([
      ["unstructured", { start: 0, steps: 40, keep: 0, group: 0 }, REMOVAL],
      ["3:8", { start: 0, steps: 44, keep: 3, group: 8 }, REMOVAL],
      ["later steps", { start: 21, steps: 9, keep: 0, group: 0 }, REMOVAL],
      ["1101 columns", { start: 0, steps: 6, keep: 0, group: 0 }, {
        rows: 2,
        cols: 1101,
        ld: 1104,
        depth: 6,
      }],
    ] as const).map(([feature, steps, size]) => removalCase(feature, steps, size)),
});

const REMOVAL = { rows: 5, cols: 130, ld: 132, depth: 44 };

/** A case with weights of each state. The inverse Hessian is a diagonally dominant Toeplitz matrix. */
function removalCase(
  feature: string,
  steps: Readonly<Record<"start" | "steps" | "keep" | "group", number>>,
  size: typeof REMOVAL,
) {
  const { rows, cols, ld, depth } = size, roundings = 4 * depth;
  const state = (kind: number) =>
    [WeightState.removed, WeightState.forced, WeightState.locked][kind] ?? WeightState.candidate;
  return {
    feature,
    params: { ...size, ...steps },
    buffers: () => {
      const band = signed(cols, 320).map((value, distance) => distance === 0 ? 4 : value / (8 + distance));
      // Row i of the matrix is a part of the band and its mirror image. Copies are faster than divisions.
      const mirrored = Float32Array.of(...band.toReversed(), ...band.subarray(1));
      const inverse = new Float32Array(cols * ld);
      for (let i = 0; i < cols; i++) inverse.set(mirrored.subarray(cols - 1 - i, 2 * cols - 1 - i), i * ld);
      return {
        inverse,
        bounds: positives(ld, 322).map((value) => value / 4),
        limits: Uint32Array.from({ length: rows }, (_, r) => depth - 3 * r),
        weights: signed(rows * ld, 323).map((value) => 8 * value),
        diagonal: filled(rows * ld, 4),
        states: below(16, rows * ld, 321).map((kind, i) => i % ld < cols ? state(kind) : WeightState.removed),
        vectors: signed(rows * depth * ld, 324).map((value) => value / 8),
        trace: words(rows * depth * 2, 325),
      };
    },
    roundings: { weights: roundings, diagonal: roundings, vectors: roundings },
    // Element 2i of the trace is a column, and element 2i + 1 the bits of a score.
    includes: { trace: (i: number) => i % 2 === 0 },
    outputs: {
      scores: {
        binding: "trace",
        roundings,
        includes: (i: number) =>
          i % 2 === 1 && Math.floor(i / 2) % depth >= steps.start &&
          Math.floor(i / 2) % depth < Math.min(steps.start + 5, depth - 12),
      },
    },
  };
}
