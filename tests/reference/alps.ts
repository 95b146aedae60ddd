/**
 * ALPS (Meng et al. 2024, arXiv 2406.07831) in naive float64, with the variables of the paper. The matrices B, D and V are all
 * stored, and the final weights are the least-squares solution on the mask. This file shares no code with `src`.
 */

import { choleskyLower } from "./cholesky.ts";
import { dampedHessian, quadraticForm } from "./hessian.ts";
import { referenceRefit, solveLower } from "./refit.ts";
import { referenceSelection } from "./selection.ts";
import type { Groups, ReferenceLayer } from "./sparsegpt.ts";

/** A ladder of penalties ρ₀·gˡ for l = 0 … rungs − 1, with `iterations` iterations each. */
export interface ReferenceSchedule {
  readonly rho: number;
  readonly growth: number;
  readonly iterations: number;
  readonly rungs: number;
}

/** The settings. `sparsity` is ignored if `groups` is given. */
export interface ReferenceAlpsOptions {
  readonly sparsity: number;
  readonly groups?: Groups;
  readonly damping: number;
  readonly schedule: ReferenceSchedule;
}

/**
 * Prunes a layer. Dead columns are set to 0 first. Returns the mask and the loss tr((W − Q)·H·(W − Q)ᵀ) of
 * the best weights on this mask.
 */
export function referenceAlps(
  layer: ReferenceLayer,
  { sparsity, groups, damping, schedule }: ReferenceAlpsOptions,
): { mask: Uint8Array; loss: number } {
  const { rows, cols, hessian } = layer;
  const a = dampedHessian(hessian, cols, damping);
  const w = Float64Array.from(layer.weight, (value, i) => hessian[(i % cols) * (cols + 1)] === 0 ? 0 : value);
  const s = Float64Array.from({ length: cols }, (_, j) => Math.sqrt(a[j * cols + j]));
  const scaled = Float64Array.from(a, (value, i) => value / (s[Math.floor(i / cols)] * s[i % cols]));
  const scaledW = w.map((value, i) => value * s[i % cols]);
  const g = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < cols; k++) {
      for (let c = 0; c < cols; c++) g[r * cols + c] += scaledW[r * cols + k] * scaled[k * cols + c];
    }
  }

  const project = (z: Float64Array) => {
    const kept = keptEntries(z, layer, sparsity, groups);
    return { kept, d: z.map((value, i) => kept[i] ? value : 0) };
  };
  let { kept, d } = project(scaledW);
  const v = new Float64Array(rows * cols);
  for (let rung = 0; rung < schedule.rungs; rung++) {
    const rho = schedule.rho * schedule.growth ** rung;
    const l = choleskyLower(scaled.map((value, i) => i % (cols + 1) === 0 ? value + rho : value), cols);
    for (let iteration = 0; iteration < schedule.iterations; iteration++) {
      const b = new Float64Array(rows * cols);
      for (let r = 0; r < rows; r++) {
        const right = Float64Array.from(
          { length: cols },
          (_, c) => g[r * cols + c] - v[r * cols + c] + rho * d[r * cols + c],
        );
        b.set(solveLower(l, right, cols), r * cols);
      }
      ({ kept, d } = project(b.map((value, i) => value + v[i] / rho)));
      for (let i = 0; i < v.length; i++) v[i] += rho * (b[i] - d[i]);
    }
  }
  const q = referenceRefit({ ...layer, weight: w }, a, kept);
  return { mask: kept, loss: quadraticForm(w.map((value, i) => value - q[i]), hessian, rows, cols) };
}

/**
 * Returns 1 for kept and 0 for pruned entries. The smallest magnitudes are pruned: round(sparsity·entries) of
 * them, or all but `keep` per group.
 */
function keptEntries(
  z: Float64Array,
  { rows, cols, forced }: ReferenceLayer,
  sparsity: number,
  groups?: Groups,
): Uint8Array {
  const isForced = (i: number) => forced?.[i] === 1;
  const scores = z.map(Math.abs);
  if (!groups) {
    const forcedCount = forced ? Array.from(forced).filter((flag) => flag === 1).length : 0;
    const count = Math.max(forcedCount, Math.round(sparsity * rows * cols));
    return referenceSelection(scores, count, isForced).map((pruned) => 1 - pruned);
  }
  const kept = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let start = 0; start < cols; start += groups.group) {
      const size = Math.min(groups.group, cols - start), at = r * cols + start;
      const count = size - Math.ceil(groups.keep * size / groups.group);
      const pruned = referenceSelection(scores.subarray(at, at + size), count, (i) => isForced(at + i));
      for (let i = 0; i < size; i++) kept[at + i] = pruned[i] || isForced(at + i) ? 0 : 1;
    }
  }
  return kept;
}
