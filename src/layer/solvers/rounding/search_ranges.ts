/**
 * Searches the range that the grid of each row spans. A grid that spans all weights of a row has large steps if
 * a few weights are large. A smaller range rounds these few weights to its ends, and all others more finely.
 * The published GPTQ code has the same search as its option `mse`, but compares the squares of the rounding
 * errors of single weights. Here each range is tried with a whole rounding pass, so the search compares the
 * error tr(Δ·H·Δᵀ) that is left after the later columns have compensated for the earlier ones.
 */

import type { Backend } from "../../../device/backend.ts";
import { ResourceSet } from "../../../device/owned.ts";
import type { TiledMatrix } from "../../../device/tiled_matrix.ts";
import type { Factor } from "../../linalg/factor.ts";
import { allocateLike, copyMatrix } from "../../linalg/tile_arithmetic.ts";
import type { SparseGptOptions } from "../solver.ts";
import { solveSparseGpt } from "../sparsegpt.ts";

/** The ranges that are tried, as fractions of the range of a row's weights. */
const FRACTIONS = [1, 0.95, 0.9, 0.85];

/**
 * Returns the range with the smallest error for each row, as a fraction of the range of the row's weights:
 * (rows). Of equal errors, the larger range is chosen. The rows are independent because the mask is fixed.
 * @param weight the weights to round. They are not changed
 * @param options `quantization` with whole rows per grid, and `fixedMask`
 * @throws the errors of `solveSparseGpt`
 */
export async function searchRanges(
  backend: Backend,
  weight: TiledMatrix,
  factor: Factor,
  options: SparseGptOptions,
): Promise<Float32Array<ArrayBuffer>> {
  const best = new Float32Array(weight.rows), smallest = new Float32Array(weight.rows).fill(Infinity);
  const owned = new ResourceSet();
  try {
    const trial = owned.add(allocateLike(backend, weight, "weights of a trial"));
    for (const fraction of FRACTIONS) {
      copyMatrix(backend, weight, trial);
      const gridRanges = new Float32Array(weight.rows).fill(fraction);
      const solution = await solveSparseGpt(backend, { weight: trial }, factor, { ...options, gridRanges });
      solution.destroy();
      solution.rowErrors!.forEach((error, row) => {
        if (error < smallest[row]) [smallest[row], best[row]] = [error, fraction];
      });
    }
    return best;
  } finally {
    owned.destroy();
  }
}
