/**
 * SparseGPT and magnitude pruning in naive float64. SparseGPT is in the published form (Frantar & Alistarh,
 * arXiv 2301.00774, algorithm 1): factor H, invert it, compute the upper Cholesky factor U of the inverse
 * (H⁻¹ = UᵀU), and loop over the columns, where each column updates all columns after it. Only the selection
 * rule differs from the paper. Each block prunes an exact number of entries, and of entries with equal scores
 * the one with the lower row-major index is pruned first. This file shares no code with `src`.
 */

import { choleskyInverse, choleskyLower, transpose } from "./cholesky.ts";
import { dampedHessian, quadraticForm } from "./hessian.ts";

/** An n:m pattern. Each row keeps `keep` entries of every `group` consecutive columns. */
export interface Groups {
  readonly keep: number;
  readonly group: number;
}

/** A layer to prune: W (rows, cols) and H (cols, cols), both row-major. */
export interface ReferenceLayer {
  readonly rows: number;
  readonly cols: number;
  readonly weight: ArrayLike<number>;
  readonly hessian: ArrayLike<number>;
  /** (rows, cols): 1 where the entry must be pruned. */
  readonly forced?: ArrayLike<number>;
}

/** The settings of the prune. `sparsity` is the fraction of entries to prune, and is ignored if `groups` is given. */
export interface ReferenceOptions {
  readonly sparsity: number;
  readonly groups?: Groups;
  readonly blocksize: number;
}

/** The result of the prune. */
export interface ReferenceSolution {
  /** (rows, cols): the pruned weights. */
  readonly q: Float64Array;
  /** (rows, cols): 0 where the entry is pruned, 1 elsewhere. */
  readonly mask: Uint8Array;
  /** tr(Δ·H·Δᵀ), where Δ is the change of the weights. */
  readonly loss: number;
  /** The loss divided by tr(W·H·Wᵀ). */
  readonly relativeError: number;
}

/** The quantities that depend only on H, so that layers with the same input can share them. */
export interface ReferenceFactor {
  /** U, (n, n) upper triangular, with H⁻¹ = UᵀU for the damped H. */
  readonly u: Float64Array;
  /** The indices of the dead inputs, whose diagonal entry in H is 0. */
  readonly dead: readonly number[];
}

/** Finds the dead inputs, adds damping·mean(diag H) to the diagonal of H, and computes U. */
export function referenceFactor(hessian: ArrayLike<number>, n: number, damping: number): ReferenceFactor {
  const dead = Array.from({ length: n }, (_, j) => j).filter((j) => hessian[j * n + j] === 0);
  const inverse = choleskyInverse(choleskyLower(dampedHessian(hessian, n, damping), n), n);
  return { u: transpose(choleskyLower(inverse, n), n), dead };
}

/** Prunes a layer with the published algorithm. The columns of dead inputs are set to 0 first. */
export function referenceSparseGpt(
  layer: ReferenceLayer,
  { u, dead }: ReferenceFactor,
  { sparsity, groups, blocksize }: ReferenceOptions,
): ReferenceSolution {
  const { rows, cols, forced } = layer;
  const original = Float64Array.from(layer.weight);
  for (const j of dead) for (let r = 0; r < rows; r++) original[r * cols + j] = 0;
  const w = original.slice();
  const mask = new Uint8Array(rows * cols).fill(1);
  const score = (i: number) => forced?.[i] ? -1 : (w[i] / u[(i % cols) * (cols + 1)]) ** 2;

  let pruned = 0;
  for (let i1 = 0; i1 < cols; i1 += blocksize) {
    const i2 = Math.min(i1 + blocksize, cols);
    if (!groups) {
      const block = indices(rows, cols, i1, i2);
      const mustGo = block.filter((i) => forced?.[i]).length;
      const count = Math.max(mustGo, Math.round(sparsity * (rows * i2)) - pruned);
      for (const i of smallest(block, score, count)) mask[i] = 0;
      pruned += count;
    }
    for (let j = i1; j < i2; j++) {
      if (groups && (j - i1) % groups.group === 0) {
        pruneGroups(rows, cols, j, Math.min(j + groups.group, i2), groups, score, mask, forced);
      }
      // For each pruned entry: w[r, c] −= w[r, j]/U[j, j] · U[j, c] for c ≥ j. An entry that is kept has no error.
      for (let r = 0; r < rows; r++) {
        const i = r * cols + j;
        if (mask[i]) continue;
        const error = w[i] / u[j * cols + j];
        for (let c = j; c < cols; c++) w[r * cols + c] -= error * u[j * cols + c];
        w[i] = 0;
      }
    }
  }
  return withLoss(original, w, mask, layer);
}

/** Prunes the entries with the smallest |w| of the whole layer, or of each group. The other entries do not change. */
export function referenceMagnitude(
  layer: ReferenceLayer,
  { sparsity, groups }: Omit<ReferenceOptions, "blocksize">,
): ReferenceSolution {
  const { rows, cols, forced } = layer;
  const original = Float64Array.from(layer.weight);
  const mask = new Uint8Array(rows * cols).fill(1);
  const score = (i: number) => forced?.[i] ? -1 : Math.abs(original[i]);
  if (groups) {
    for (let j = 0; j < cols; j += groups.group) {
      pruneGroups(rows, cols, j, Math.min(j + groups.group, cols), groups, score, mask, forced);
    }
  } else {
    const all = indices(rows, cols, 0, cols);
    const count = Math.max(all.filter((i) => forced?.[i]).length, Math.round(sparsity * (rows * cols)));
    for (const i of smallest(all, score, count)) mask[i] = 0;
  }
  return withLoss(original, original.map((value, i) => mask[i] ? value : 0), mask, layer);
}

/** The row-major indices of all entries in the columns i1 ≤ c < i2. */
function indices(rows: number, cols: number, i1: number, i2: number): number[] {
  return Array.from(
    { length: rows * (i2 - i1) },
    (_, i) => Math.floor(i / (i2 - i1)) * cols + i1 + i % (i2 - i1),
  );
}

/** The `count` indices with the smallest scores. Of equal scores, the one with the lower index comes first. */
function smallest(candidates: number[], score: (i: number) => number, count: number): number[] {
  const scores = new Map(candidates.map((i) => [i, score(i)]));
  return candidates.toSorted((a, b) => scores.get(a)! - scores.get(b)! || a - b).slice(0, count);
}

/**
 * Prunes one group, the columns j1 ≤ c < j2, in every row. With size = j2 − j1, a row keeps
 * ceil(keep·size/group) entries of the group, or fewer if more entries are forced.
 */
function pruneGroups(
  rows: number,
  cols: number,
  j1: number,
  j2: number,
  { keep, group }: Groups,
  score: (i: number) => number,
  mask: Uint8Array,
  forced: ArrayLike<number> | undefined,
): void {
  const size = j2 - j1, count = size - Math.ceil(keep * size / group);
  for (let r = 0; r < rows; r++) {
    const entries = Array.from({ length: size }, (_, c) => r * cols + j1 + c);
    const mustGo = entries.filter((i) => forced?.[i]).length;
    for (const i of smallest(entries, score, Math.max(count, mustGo))) mask[i] = 0;
  }
}

/** Returns the pruned weights with their loss and relative error. `original` are the weights without those of dead inputs. */
export function withLoss(
  original: Float64Array,
  q: Float64Array,
  mask: Uint8Array,
  { hessian, rows, cols }: ReferenceLayer,
): ReferenceSolution {
  const loss = quadraticForm(original.map((value, i) => value - q[i]), hessian, rows, cols);
  const total = quadraticForm(original, hessian, rows, cols);
  return { q, mask, loss, relativeError: total === 0 ? 0 : loss / total };
}
