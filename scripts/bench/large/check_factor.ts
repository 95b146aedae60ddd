/**
 * Whether R·Rᵀ is the damped H, in float64, on some rows and all their columns. H is recomputed from the calibration inputs, so the
 * accumulation is checked with it. R passes by a tile at a time.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import type { TiledMatrix } from "../../../src/backend/tiled_matrix.ts";
import { isDead, type LargeShape } from "./layer.ts";
import { readRow, type TileValues } from "./read_rows.ts";

/** Unit roundoff of f32. */
const ROUNDOFF = 2 ** -24;
/**
 * Allowed |R·Rᵀ − H|(i, j) / √(H(i, i)·H(j, j)), as a multiple of √n·u: rounding errors of n-term sums add up like a random walk. The
 * worst case that is proved (Higham, Accuracy and Stability, theorem 10.5) is n·u, hundreds of times as much at these sizes.
 */
const ALLOWED = 1;

/** The check of one factor. */
export interface FactorCheck {
  readonly rowsChecked: number;
  /** The largest |R·Rᵀ − H|(i, j) / √(H(i, i)·H(j, j)). */
  readonly residual: number;
  readonly allowed: number;
}

/** Gathers the sampled rows of R·Rᵀ while the tiles of R pass by. */
export class FactorChecker {
  readonly #indices: readonly number[];
  /** A sampled row of R each, 0 left of its diagonal. */
  readonly #rows: readonly Float64Array[];
  /** A sampled row of R·Rᵀ each. */
  readonly #products: readonly Float64Array[];

  private constructor(indices: readonly number[], rows: readonly Float64Array[]) {
    this.#indices = indices;
    this.#rows = rows;
    this.#products = rows.map(({ length }) => new Float64Array(length));
  }

  /** Reads the sampled rows of `r`, (n, n) upper storage. */
  static async begin(backend: Backend, r: TiledMatrix, indices: readonly number[]): Promise<FactorChecker> {
    const rows: Float64Array[] = [];
    for (const i of indices) rows.push(Float64Array.from(await readRow(backend, r, i)).fill(0, 0, i));
    return new FactorChecker(indices, rows);
  }

  /** Adds what a tile of R contributes: (R·Rᵀ)(i, j) += Σ_k R(i, k)·R(j, k) over the tile's columns k ≥ j. */
  take([tile, values]: TileValues): void {
    for (let r = 0; r < tile.rows; r++) {
      const j = tile.row0 + r, first = Math.max(j, tile.col0);
      const start = r * tile.ld - tile.col0, end = tile.col0 + tile.cols;
      for (const [s, row] of this.#rows.entries()) {
        let sum = 0;
        for (let k = first; k < end; k++) sum += row[k] * values[start + k];
        this.#products[s][j] += sum;
      }
    }
  }

  /**
   * Compares with H of `inputs`, (tokens, cols), damped by `damping`·mean(diag H).
   * @throws {Error} an element is further off than rounding explains
   */
  finish(inputs: Float32Array, { tokens, cols }: LargeShape, damping: number): FactorCheck {
    const diagonal = new Float64Array(cols);
    for (let i = 0; i < tokens * cols; i++) diagonal[i % cols] += inputs[i] * inputs[i];
    for (let j = 0; j < cols; j++) if (isDead(j)) diagonal[j] = 1;
    const added = damping * diagonal.reduce((sum, value) => sum + value) / cols;
    const allowed = ALLOWED * Math.sqrt(cols) * ROUNDOFF;
    let residual = 0;
    for (const [s, i] of this.#indices.entries()) {
      const expected = new Float64Array(cols);
      for (let t = 0; t < tokens; t++) {
        const x = inputs[t * cols + i];
        for (let j = 0; j < cols; j++) expected[j] += x * inputs[t * cols + j];
      }
      expected[i] = diagonal[i] + added;
      for (let j = 0; j < cols; j++) {
        const scale = Math.sqrt((diagonal[i] + added) * (diagonal[j] + added));
        const error = Math.abs(this.#products[s][j] - expected[j]) / scale;
        // The negation, so that NaN is refused too.
        if (!(error <= allowed)) {
          throw new Error(
            `R·Rᵀ: element (${i}, ${j}) is ${this.#products[s][j]}, H has ${
              expected[j]
            }: ${error} of the diagonal, ` +
              `allowed are ${allowed}`,
          );
        }
        residual = Math.max(residual, error);
      }
    }
    return { rowsChecked: this.#indices.length, residual, allowed };
  }
}
