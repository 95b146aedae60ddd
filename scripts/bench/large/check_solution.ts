/**
 * Checks the solved weights Q against the column recursion of SparseGPT, computed in float64 on some sampled
 * rows. Two inputs of the recursion come from the solver: the mask, and the upper triangular factor R of the
 * damped Hessian H = R·Rᵀ, which `check_factor.ts` checks. In each row of the weights W, the recursion computes
 * a change Δ_j for each column j in order. Where the mask prunes the entry, Δ_j = W_j. Elsewhere,
 * Δ_j = −(Σ_{i<j} Δ_i·R(i, j))/R(j, j). Then Q = W − Δ. The solver computes the same in blocks of columns.
 *
 * R is read one tile (a rectangular piece of the matrix) at a time, from the first row of tiles to the last,
 * because R is too large to be held in this process.
 */

import { isDead, type LargeShape, weightRow } from "./large_layer.ts";
import type { TileValues } from "./read_rows.ts";

/** The largest allowed ‖Q − Q̂‖/‖Q̂‖ of a row, where Q̂ is computed in float64. */
const ALLOWED = 1e-5;

/** The result of a check that has passed. */
export interface SolutionCheck {
  readonly rowsChecked: number;
  /** The largest ‖Q − Q̂‖/‖Q̂‖ of a row that was found. */
  readonly residual: number;
  readonly allowed: number;
}

/** One sampled row while it is computed. */
interface SampledRow {
  readonly index: number;
  /**
   * Starts as the row of W, with zeros at dead inputs, which are 0 in every token. When a column is solved,
   * its entry is replaced by its value of Q̂, the float64 result.
   */
  readonly weight: Float64Array;
  /** Σ_i Δ_i·R(i, j) for each column j, summed over the columns i solved so far. */
  readonly errors: Float64Array;
  readonly delta: Float64Array;
  /** Whether the mask keeps the entry in column j. */
  readonly isKept: (j: number) => boolean;
}

/** Solves the sampled rows in float64 from the tiles of R, which are added one by one, and compares them with Q. */
export class SolutionChecker {
  readonly #rows: readonly SampledRow[];

  /** @param mask one bit per entry, 1 for a kept entry, with `words` u32 words per row */
  constructor(indices: readonly number[], shape: LargeShape, mask: Uint32Array, words: number) {
    this.#rows = indices.map((index) => ({
      index,
      weight: Float64Array.from(weightRow(index, shape), (value, j) => isDead(j) ? 0 : value),
      errors: new Float64Array(shape.cols),
      delta: new Float64Array(shape.cols),
      isKept: (j) => ((mask[index * words + (j >>> 5)] >>> (j & 31)) & 1) === 1,
    }));
  }

  /**
   * Adds one tile of R. A tile on the diagonal is used to solve the entries of its columns. Every other tile
   * is used to add the errors of solved columns to later columns.
   */
  add([tile, values]: TileValues): void {
    const isDiagonal = tile.row0 === tile.col0, end = tile.col0 + tile.cols;
    for (let r = 0; r < tile.rows; r++) {
      const j = tile.row0 + r, start = r * tile.ld - tile.col0;
      for (const { weight, errors, delta, isKept } of this.#rows) {
        if (isDiagonal) {
          delta[j] = isKept(j) ? -errors[j] / values[start + j] : weight[j];
          weight[j] -= delta[j];
        }
        const change = delta[j];
        for (let k = isDiagonal ? j + 1 : tile.col0; k < end; k++) errors[k] += change * values[start + k];
      }
    }
  }

  /**
   * Compares the computed rows with the rows of Q, which `readQ` reads. Call this after all tiles have been added.
   * @throws {Error} if a pruned entry is not 0, or if a row differs by more than rounding explains
   */
  async compare(readQ: (row: number) => Promise<Float32Array>): Promise<SolutionCheck> {
    let residual = 0;
    for (const { index, weight, isKept } of this.#rows) {
      const q = await readQ(index);
      let error = 0, norm = 0;
      for (let j = 0; j < q.length; j++) {
        if (!isKept(j) && q[j] !== 0) throw new Error(`Q: entry (${index}, ${j}) is pruned but is ${q[j]}`);
        error += (q[j] - weight[j]) ** 2;
        norm += weight[j] ** 2;
      }
      const relative = Math.sqrt(error / norm);
      // Written as a negation, so that NaN is an error too.
      if (!(relative <= ALLOWED)) {
        throw new Error(`Q: row ${index} differs by ${relative} of its norm, but only ${ALLOWED} is allowed`);
      }
      residual = Math.max(residual, relative);
    }
    return { rowsChecked: this.#rows.length, residual, allowed: ALLOWED };
  }
}
