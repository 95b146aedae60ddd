/**
 * Whether the answered weights are what the column recursion gives, in float64, on some rows: from the same R and the answered mask,
 * column by column, Δ_j = W_j where pruned, else −(Σ_{i<j} Δ_i·R(i, j))/R(j, j), and Q = W − Δ. That is DESIGN §3.4 without its blocks.
 * R passes by a tile at a time, its tile rows from the first on.
 */

import { isDead, type LargeShape, weightRow } from "./layer.ts";
import type { TileValues } from "./read_rows.ts";

/** Allowed ‖Q − Q̂‖/‖Q̂‖ of a row. */
const ALLOWED = 1e-5;

/** The check of one solution. */
export interface SolutionCheck {
  readonly rowsChecked: number;
  /** The largest ‖Q − Q̂‖/‖Q̂‖ of a row, Q̂ from float64. */
  readonly residual: number;
  readonly allowed: number;
}

/** A row under way. */
interface Row {
  readonly index: number;
  /** W as it came, 0 at dead inputs; becomes Q̂. */
  readonly weight: Float64Array;
  /** Σ_{i<j} Δ_i·R(i, j) over the columns i gone by. */
  readonly gathered: Float64Array;
  readonly delta: Float64Array;
  readonly kept: (j: number) => boolean;
}

/** Solves the sampled rows again while the tiles of R pass by. */
export class SolutionChecker {
  readonly #rows: readonly Row[];

  /** @param mask u32 bits of the kept entries, `words` a row */
  constructor(indices: readonly number[], shape: LargeShape, mask: Uint32Array, words: number) {
    this.#rows = indices.map((index) => ({
      index,
      weight: Float64Array.from(weightRow(index, shape), (value, j) => isDead(j) ? 0 : value),
      gathered: new Float64Array(shape.cols),
      delta: new Float64Array(shape.cols),
      kept: (j) => ((mask[index * words + (j >>> 5)] >>> (j & 31)) & 1) === 1,
    }));
  }

  /** Solves the columns of a diagonal tile, and brings the tiles right of it up to date. */
  take([tile, values]: TileValues): void {
    const diagonal = tile.row0 === tile.col0, end = tile.col0 + tile.cols;
    for (let r = 0; r < tile.rows; r++) {
      const j = tile.row0 + r, start = r * tile.ld - tile.col0;
      for (const { weight, gathered, delta, kept } of this.#rows) {
        if (diagonal) {
          delta[j] = kept(j) ? -gathered[j] / values[start + j] : weight[j];
          weight[j] -= delta[j];
        }
        const change = delta[j];
        for (let k = diagonal ? j + 1 : tile.col0; k < end; k++) gathered[k] += change * values[start + k];
      }
    }
  }

  /**
   * Compares with the answered rows, read by `readQ`.
   * @throws {Error} a pruned entry is not 0, or a row is further off than rounding explains
   */
  async finish(readQ: (row: number) => Promise<Float32Array>): Promise<SolutionCheck> {
    let residual = 0;
    for (const { index, weight, kept } of this.#rows) {
      const q = await readQ(index);
      let error = 0, norm = 0;
      for (let j = 0; j < q.length; j++) {
        if (!kept(j) && q[j] !== 0) throw new Error(`Q: entry (${index}, ${j}) is pruned but ${q[j]}`);
        error += (q[j] - weight[j]) ** 2;
        norm += weight[j] ** 2;
      }
      const relative = Math.sqrt(error / norm);
      // The negation, so that NaN is refused too.
      if (!(relative <= ALLOWED)) {
        throw new Error(`Q: row ${index} is ${relative} of its norm off, allowed are ${ALLOWED}`);
      }
      residual = Math.max(residual, relative);
    }
    return { rowsChecked: this.#rows.length, residual, allowed: ALLOWED };
  }
}
