/**
 * Wanda in naive float64 (Sun et al., arXiv 2306.11695): the scores |W[i,j]|·√H[j,j] are sorted in each row, or in each
 * group of a row. This file shares no code with `src`.
 */

import { referenceSelection } from "./selection.ts";
import { type Groups, type ReferenceLayer, type ReferenceSolution, withLoss } from "./sparsegpt.ts";

/**
 * Prunes a layer. The numbers of pruned entries of two rows differ by at most one, and the numbers of the first r
 * rows add up to ⌊total·r/rows⌋. Forced entries are pruned first.
 */
export function referenceWanda(
  layer: ReferenceLayer,
  { sparsity, groups }: { readonly sparsity: number; readonly groups?: Groups },
): ReferenceSolution {
  const { rows, cols, hessian, forced } = layer;
  const original = Float64Array.from(layer.weight), mask = new Uint8Array(rows * cols).fill(1);
  const total = Math.round(sparsity * rows * cols);

  /** Prunes `count` of the entries start ≤ c < end of row r, or all forced entries if there are more of them. */
  const prune = (r: number, start: number, end: number, count: number) => {
    const columns = Array.from({ length: end - start }, (_, i) => start + i);
    const scores = columns.map((c) => Math.abs(original[r * cols + c]) * Math.sqrt(hessian[c * cols + c]));
    const flags = columns.map((c) => Boolean(forced?.[r * cols + c]));
    const chosen = referenceSelection(scores, Math.max(count, flags.filter(Boolean).length), (i) => flags[i]);
    columns.forEach((c, i) => {
      if (chosen[i]) mask[r * cols + c] = 0;
    });
  };
  for (let r = 0; r < rows; r++) {
    if (groups) {
      for (let start = 0; start < cols; start += groups.group) {
        const end = Math.min(start + groups.group, cols), size = end - start;
        prune(r, start, end, size - Math.ceil(groups.keep * size / groups.group));
      }
    } else {
      prune(r, 0, cols, Math.floor(total * (r + 1) / rows) - Math.floor(total * r / rows));
    }
  }
  return withLoss(original, original.map((value, i) => mask[i] ? value : 0), mask, layer);
}
