/**
 * The removal of whole columns in naive float64 (structured optimal brain surgery, as in ZipLM, arXiv 2302.04089): one set of neighbouring
 * columns after another, with an inverse that is computed again for the remaining columns. This file shares no code with `src`.
 */

import { choleskyInverse, choleskyLower } from "./cholesky.ts";
import { dampedHessian, quadraticForm } from "./hessian.ts";
import { type ReferenceLayer, type ReferenceSolution, withLoss } from "./sparsegpt.ts";

export interface ReferenceColumns extends ReferenceSolution {
  /** The columns in the order of their removal. */
  readonly removed: readonly number[];
  /** ΔE of each removed set, with the damped H. */
  readonly increases: readonly number[];
}

/** Removes `sets` sets of `group` columns. The columns of dead inputs are set to 0 first. */
export function referenceColumns(
  layer: ReferenceLayer,
  { sets, group, damping }: { readonly sets: number; readonly group: number; readonly damping: number },
): ReferenceColumns {
  const { rows, cols, hessian } = layer, damped = dampedHessian(hessian, cols, damping);
  const original = Float64Array.from(layer.weight, (value, i) => {
    const col = i % cols;
    return hessian[col * cols + col] === 0 ? 0 : value;
  });
  let alive = range(0, cols);
  const removed: number[] = [], increases: number[] = [];
  for (let i = 0; i < sets; i++) {
    const w = refitted(original, damped, rows, cols, alive), g = inverseOf(damped, cols, alive);
    let best = { start: -1, increase: Infinity };
    for (let place = 0; place < alive.length; place += group) {
      const start = alive[place], inverse = inverseOf(g, alive.length, range(place, group));
      const part = Float64Array.from(
        { length: rows * group },
        (_, i) => w[Math.floor(i / group) * cols + start + i % group],
      );
      const increase = quadraticForm(part, inverse, rows, group);
      if (increase < best.increase) best = { start, increase };
    }
    alive = alive.filter((col) => col < best.start || col >= best.start + group);
    removed.push(...range(best.start, group));
    increases.push(best.increase);
  }
  const q = refitted(original, damped, rows, cols, alive);
  const mask = Uint8Array.from({ length: rows * cols }, (_, i) => alive.includes(i % cols) ? 1 : 0);
  return { ...withLoss(original, q, mask, layer), removed, increases };
}

function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}

/** Returns A(part, part)⁻¹ for a matrix A of order n. */
function inverseOf(a: Float64Array, n: number, part: readonly number[]): Float64Array {
  const k = part.length;
  const values = Float64Array.from({ length: k * k }, (_, i) => a[part[Math.floor(i / k)] * n + part[i % k]]);
  return choleskyInverse(choleskyLower(values, k), k);
}

/** Returns the least-squares weights for the columns `alive`, W·H(:, alive)·H(alive, alive)⁻¹, and 0 elsewhere. */
function refitted(
  w: Float64Array,
  h: Float64Array,
  rows: number,
  cols: number,
  alive: readonly number[],
): Float64Array {
  const k = alive.length;
  if (k === cols) return w.slice();
  const inverse = inverseOf(h, cols, alive), q = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const right = alive.map((col) => {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += w[r * cols + j] * h[j * cols + col];
      return sum;
    });
    for (let i = 0; i < k; i++) {
      let sum = 0;
      for (let j = 0; j < k; j++) sum += inverse[i * k + j] * right[j];
      q[r * cols + alive[i]] = sum;
    }
  }
  return q;
}
