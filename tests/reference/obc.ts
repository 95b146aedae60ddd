/**
 * ExactOBS in naive float64 (Frantar & Alistarh, arXiv 2208.11580, algorithms 1 and 2). Every row has its own copy of the
 * inverse Hessian, and each removal eliminates one weight from this copy. This file shares no code with `src`.
 */

import { choleskyInverse, choleskyLower } from "./cholesky.ts";
import { dampedHessian } from "./hessian.ts";
import { type Groups, type ReferenceLayer, type ReferenceSolution, withLoss } from "./sparsegpt.ts";

/** The removal of one weight. The trace of a row is the list of its removals. */
interface Removal {
  readonly column: number;
  /** w[p]²/G[p, p], the increase of the error. */
  readonly loss: number;
  /** The weights of the row after the removal. */
  readonly weights: Float64Array;
}

/** Prunes a layer. The columns of dead inputs are set to 0 first. */
export function referenceObc(
  layer: ReferenceLayer,
  options: { readonly sparsity: number; readonly groups?: Groups; readonly damping: number },
): ReferenceSolution {
  const { rows, cols, hessian, forced } = layer, { sparsity, groups, damping } = options;
  const original = Float64Array.from(layer.weight);
  for (let j = 0; j < cols; j++) {
    if (hessian[j * cols + j] === 0) { for (let r = 0; r < rows; r++) original[r * cols + j] = 0; }
  }
  const inverse = choleskyInverse(choleskyLower(dampedHessian(hessian, cols, damping), cols), cols);
  const traces = Array.from({ length: rows }, (_, r) => {
    const isForced = (c: number) => Boolean(forced?.[r * cols + c]);
    return removeWeights(original.slice(r * cols, (r + 1) * cols), inverse, isForced, groups);
  });
  const counts = groups ? traces.map((trace) => trace.length) : countsOf(traces, layer, sparsity);

  const q = original.slice(), mask = new Uint8Array(rows * cols).fill(1);
  traces.forEach((trace, r) => {
    for (const { column, weights } of trace.slice(0, counts[r])) {
      mask[r * cols + column] = 0;
      q.set(weights, r * cols);
    }
  });
  return withLoss(original, q, mask, layer);
}

/**
 * Removes the weights of one row until none may be removed. Forced weights come first, from left to right. With `groups`, a
 * weight that is not forced may be removed only while its group keeps more weights than it must.
 */
function removeWeights(
  w: Float64Array,
  inverse: Float64Array,
  isForced: (column: number) => boolean,
  groups: Groups | undefined,
): Removal[] {
  const n = w.length, g = inverse.slice(), alive = new Set(w.keys()), trace: Removal[] = [];
  const mayGo = (p: number) => {
    if (!groups) return true;
    const start = Math.floor(p / groups.group) * groups.group, end = Math.min(start + groups.group, n);
    const left = [...alive].filter((c) => c >= start && c < end).length;
    return left > Math.ceil(groups.keep * (end - start) / groups.group);
  };
  while (true) {
    const forced = [...alive].filter(isForced).sort((a, b) => a - b);
    let p = forced[0] ?? -1, best = Infinity;
    if (p < 0) {
      for (const c of [...alive].sort((a, b) => a - b)) {
        const score = w[c] ** 2 / g[c * n + c];
        if (score < best && mayGo(c)) [p, best] = [c, score];
      }
    }
    if (p < 0) return trace;
    const pivot = g[p * n + p], loss = w[p] ** 2 / pivot, error = w[p] / pivot;
    const column = Float64Array.from({ length: n }, (_, c) => g[c * n + p]);
    for (let c = 0; c < n; c++) w[c] -= column[c] * error;
    for (let i = 0; i < n; i++) {
      const factor = column[i] / pivot;
      for (let c = 0; c < n; c++) g[i * n + c] -= factor * column[c];
    }
    w[p] = 0;
    alive.delete(p);
    for (let c = 0; c < n; c++) if (!alive.has(c)) w[c] = 0;
    trace.push({ column: p, loss, weights: w.slice() });
  }
}

/**
 * Returns the number of removals of each row. The row whose next removal has the smallest loss gets one more,
 * until the total is reached.
 */
function countsOf(traces: Removal[][], { rows, cols, forced }: ReferenceLayer, sparsity: number): number[] {
  const counts = traces.map((_, r) => {
    let count = 0;
    for (let c = 0; c < cols; c++) count += forced?.[r * cols + c] ? 1 : 0;
    return count;
  });
  let given = counts.reduce((sum, count) => sum + count, 0);
  for (; given < Math.round(sparsity * rows * cols); given++) {
    let chosen = -1, best = Infinity;
    for (let r = 0; r < rows; r++) {
      const next = traces[r][counts[r]];
      if (next && next.loss < best) [chosen, best] = [r, next.loss];
    }
    counts[chosen]++;
  }
  return counts;
}
