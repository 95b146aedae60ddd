/**
 * The search for the grids of whole rows of weights (after NeUQI, arXiv 2505.17595). It starts from the grid that
 * `fit_grids` computes with `searched` = 1, and has two stages. Each stage compares 16 candidates by the error
 *
 *     Σ_c (importance[c]·(w[c] − the value of the grid nearest to w[c]))²
 *
 * and continues with the best candidate, or with the first of several equal ones. Candidate 0 is the grid with which
 * the stage began, so this grid stays unless another is better. Stage 0 tries its scale times 12/10, 12/11 … 12/25.
 * Stage 1 tries scales that are up to 6 % larger or smaller. For asymmetric grids it also tries zeros that are up to 2
 * larger or 1 smaller, with fewer scales. The candidates are in shaders/shared/quantization_grid.wgsl.
 */

import { defineKernel, linearGrid, u32 } from "./kernel.ts";
import { positives, signed, sumRoundings } from "./kernel_case.ts";
import linear from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import quantizationGrid from "../../../shaders/shared/quantization_grid.wgsl" with { type: "text" };
import source from "../../../shaders/search_grids.wgsl" with { type: "text" };

const code = linear + quantizationGrid + source;

/** The candidates of a stage, and the parts into which the shader divides the columns of a row. */
export const CANDIDATES = 16, PARTS = 16;

/**
 * For r < rows and each candidate n: errors[(row0 + r)·16 + n] += the error of the candidate for the columns of w,
 * which is a tile of (rows, cols) whose first column is column `first` of the matrix. `scales` and `zeros` have the
 * grid of each row of the matrix with which the stage began, and `importance` has one number per column of the matrix.
 * `scale_dtype` is a number of `DTYPE_CODE`.
 */
export const gridErrors = defineKernel({
  name: "grid_errors",
  bindings: { w: "read", importance: "read", scales: "read", zeros: "read", errors: "read_write" },
  params: u32("rows", "cols", "ld", "row0", "first", "stage", "max_code", "symmetric", "scale_dtype"),
  shader: { code, grid: (p) => linearGrid(p.rows, 1) },
  cases: () =>
    ([[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 0, 2]] as const).map((options) =>
      gridErrorsCase(19, 301, options)
    ),
});

/**
 * For i < count: replaces the grid of row i by the first of the candidates with the smallest error, and sets the errors
 * of the row to 0.
 */
export const chooseGrids = defineKernel({
  name: "choose_grids",
  bindings: { errors: "read_write", scales: "read_write", zeros: "read_write" },
  params: u32("count", "stage", "max_code", "symmetric", "scale_dtype"),
  shader: { code, grid: (p) => linearGrid(p.count, 64) },
  cases: () => ([[0, 0, 0], [1, 1, 1], [1, 0, 2]] as const).map((options) => chooseGridsCase(75, options)),
});

/** The parameters `stage`, `symmetric` and `scale_dtype` of a case. */
type SearchOptions = readonly [stage: number, symmetric: number, scale_dtype: number];

const MAX_CODE = 15;

function searchCase(rows: number, [stage, symmetric, scale_dtype]: SearchOptions) {
  return {
    feature: `stage ${stage}, ${symmetric ? "symmetric" : "asymmetric"}, scales of dtype ${scale_dtype}`,
    params: { stage, max_code: MAX_CODE, symmetric, scale_dtype },
    scales: () => positives(rows, 320).map((value, i) => (symmetric && i % 2 ? -value : value) / 8),
    zeros: () => positives(rows, 321).map((value) => symmetric ? (MAX_CODE + 1) / 2 : Math.floor(value * 10)),
  };
}

/** A tile of (rows, cols) in the middle of a matrix. */
export function gridErrorsCase(rows: number, cols: number, options: SearchOptions) {
  const ld = cols + 4,
    row0 = 2,
    first = 7,
    { feature, params, scales, zeros } = searchCase(row0 + rows, options);
  return {
    feature,
    params: { rows, cols, ld, row0, first, ...params },
    buffers: () => ({
      w: signed(rows * ld, 322),
      importance: positives(first + cols, 323),
      scales: scales(),
      zeros: zeros(),
      errors: positives((row0 + rows + 1) * CANDIDATES, 324),
    }),
    roundings: { errors: 2 * sumRoundings(cols) },
  };
}

/** Errors of `count` rows. Some errors are equal. */
export function chooseGridsCase(count: number, options: SearchOptions) {
  const { feature, params, scales, zeros } = searchCase(count + 2, options);
  return {
    feature,
    params: { count, ...params },
    buffers: () => ({
      errors: positives((count + 2) * CANDIDATES, 325).map((value, i) =>
        Math.floor(i / CANDIDATES) % 5 === 0 ? Math.round(value) : value
      ),
      scales: scales(),
      zeros: zeros(),
    }),
    roundings: { scales: 8 },
  };
}
