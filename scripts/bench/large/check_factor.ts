/**
 * Checks the computed factor R of the damped Hessian H: the product R·Rᵀ must equal H. The check computes all
 * columns of some sampled rows in float64. It recomputes H from the calibration inputs, so it also checks the
 * accumulation of H on the device. R is read one tile (a rectangular piece of the matrix) at a time, because
 * R is too large to be held in this process.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import type { TiledMatrix } from "../../../src/backend/tiled_matrix.ts";
import { isDead, type LargeShape } from "./large_layer.ts";
import { readRow, type TileValues } from "./read_rows.ts";

/** The unit roundoff u of f32. */
const ROUNDOFF = 2 ** -24;
/**
 * The largest allowed |R·Rᵀ − H|(i, j) / √(H(i, i)·H(j, j)), as a multiple of √n·u, where H is (n, n). The
 * factor √n is there because the rounding errors of a sum of n terms grow like a random walk. The proven
 * bound is n·u (Higham, Accuracy and Stability, theorem 10.5). At these sizes n·u is more than a hundred times
 * as large as √n·u, so a check against n·u would miss real errors.
 */
const ALLOWED = 1;

/** The result of a check that has passed. */
export interface FactorCheck {
  readonly rowsChecked: number;
  /** The largest |R·Rᵀ − H|(i, j) / √(H(i, i)·H(j, j)) that was found. */
  readonly residual: number;
  readonly allowed: number;
}

/** Computes the sampled rows of R·Rᵀ from the tiles of R, which are added one by one, and compares them with H. */
export class FactorChecker {
  readonly #indices: readonly number[];
  /** The sampled rows of R, with zeros to the left of the diagonal. */
  readonly #rows: readonly Float64Array[];
  /** The sampled rows of R·Rᵀ, summed over the tiles added so far. */
  readonly #products: readonly Float64Array[];

  private constructor(indices: readonly number[], rows: readonly Float64Array[]) {
    this.#indices = indices;
    this.#rows = rows;
    this.#products = rows.map(({ length }) => new Float64Array(length));
  }

  /**
   * Reads the rows `indices` of `r`, (n, n) in upper storage, which holds only the tiles on and above the
   * diagonal.
   */
  static async start(backend: Backend, r: TiledMatrix, indices: readonly number[]): Promise<FactorChecker> {
    const rows: Float64Array[] = [];
    for (const i of indices) rows.push(Float64Array.from(await readRow(backend, r, i)).fill(0, 0, i));
    return new FactorChecker(indices, rows);
  }

  /**
   * Adds the contribution of one tile of R: (R·Rᵀ)(i, j) += Σ_k R(i, k)·R(j, k). Here i is a sampled row, j
   * is a row of the tile, and k runs over the tile's columns with k ≥ j.
   */
  add([tile, values]: TileValues): void {
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
   * Compares the products with the damped Hessian. H is Σ x·xᵀ over the rows x of `inputs` (tokens, cols),
   * with 1 on the diagonal for dead inputs (0 in every token). Then `damping`·mean(diag H) is added to the
   * diagonal. Call this after all tiles have been added.
   * @throws {Error} if an element differs by more than rounding explains
   */
  compare(inputs: Float32Array, { tokens, cols }: LargeShape, damping: number): FactorCheck {
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
        // Written as a negation, so that NaN is an error too.
        if (!(error <= allowed)) {
          throw new Error(
            `R·Rᵀ: element (${i}, ${j}) is ${this.#products[s][j]}, but H has ${expected[j]}. ` +
              `Relative to the diagonal of H, the difference is ${error}, but only ${allowed} is allowed`,
          );
        }
        residual = Math.max(residual, error);
      }
    }
    return { rowsChecked: this.#indices.length, residual, allowed };
  }
}
