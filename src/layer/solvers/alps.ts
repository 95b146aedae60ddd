/**
 * ALPS (Meng et al. 2024, arXiv 2406.07831) finds a better mask than SparseGPT by the alternating direction method of multipliers (ADMM).
 * It works in scaled coordinates (`scaled_statistics.ts`), where Ŵ is the weights and Â the damped statistics. With G = Ŵ·Â:
 *
 *     D = P(Ŵ);  V = 0
 *     for l = 0 … L−1:   ρ = ρ₀·gˡ;  factor Â + ρI
 *         e times:   B = (G − V + ρ·D)·(Â + ρI)⁻¹;   Z = B + V/ρ;   D = P(Z);   V += ρ·(B − D)
 *
 * P keeps the entries with the largest magnitudes and sets the others to 0. B is a dense solution and D a pruned one. The penalty ρ pulls
 * them together, and V holds the multipliers of the condition B = D. The final weights are D, refitted on the entries that D keeps.
 *
 * The paper decomposes H into eigenvectors so that ρ can change in every iteration. Here ρ takes only a few values, which are the rungs of
 * a ladder. For each value, Â + ρI is factored once by Cholesky.
 *
 * Let S be the mask of D, and ⊙ the elementwise product. Because D = Z ⊙ S and V + ρ·B = ρ·Z, the update V += ρ·(B − D) equals V = ρ·Z ⊙ (1
 * − S). So only Z and S are stored, and D and V follow from them.
 *
 * The mask of SparseGPT is computed and refitted in the same way, and the solution with the smaller loss is returned. So the result is
 * never worse than the result of SparseGPT, which is rarely the better one. With the sparsity 0 there is no mask to find, and ADMM is left out.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { Factor } from "../linalg/factor.ts";
import { symmetricProduct } from "../linalg/gemm.ts";
import {
  addScaled,
  allocateLike,
  combineMasked,
  copyMatrix,
  scaleColumns,
} from "../linalg/tile_arithmetic.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { EntryChooser } from "./entry_chooser.ts";
import { FactorLadder } from "./factor_ladder.ts";
import { refit } from "./refit.ts";
import { isLowerLoss, type ScaledStatistics } from "./scaled_statistics.ts";
import { countPruned, type Layer, type Solution, type SolveOptions } from "./solver.ts";
import { solveSparseGpt } from "./sparsegpt.ts";
import type { ValidationLoss } from "./validation_loss.ts";

/** A ladder of penalties ρ₀·gˡ for l = 0 … rungs − 1. */
export interface AlpsSchedule {
  readonly rho: number; // ρ₀, the first penalty
  readonly growth: number; // g, the ratio of two successive penalties
  readonly iterations: number;
  readonly rungs: number;
}

/**
 * The schedules. The last value of ρ matters more than the first one, and masks are best if the last ρ is about 0.6 or more. `fast` ends at
 * 0.4 to save time. `src/layer/solvers/README.md` compares the schedules.
 */
export const ALPS_SCHEDULES = {
  fast: { rho: 0.1, growth: 2, iterations: 4, rungs: 3 },
  default: { rho: 0.02, growth: 2, iterations: 4, rungs: 6 },
  best: { rho: 0.05, growth: 1.3, iterations: 2, rungs: 12 },
} as const satisfies Readonly<Record<string, AlpsSchedule>>;

export interface AlpsOptions extends SolveOptions {
  readonly effort: keyof typeof ALPS_SCHEDULES;
  readonly refitSteps: number;
  /** Decides between the two masks, and whether their refits are kept, if the layer has validation statistics. */
  readonly validation?: ValidationLoss;
}

export interface AlpsSolution extends Solution {
  readonly refitSteps: number;
  readonly iterations: number;
  /** Whether the result has SparseGPT's mask, because the mask that ADMM found was not better. */
  readonly keptSparseGpt: boolean;
}

/**
 * Prunes `layer`. `layer.weight` holds the weights W and becomes Δ = W − Q, where Q is the pruned weights.
 * @param factor the factor of the layer's H, which is only read
 * @param statistics the same H in scaled coordinates, which is only read
 * @throws the errors of `solveSparseGpt` and `refit`
 */
export async function solveAlps(
  backend: Backend,
  layer: Layer,
  factor: Factor,
  statistics: ScaledStatistics,
  options: AlpsOptions,
): Promise<AlpsSolution> {
  const { iterations, rungs } = ALPS_SCHEDULES[options.effort];
  const { sparsity, pattern, relativeError } = options;
  const baseline = await solveSparseGpt(backend, layer, factor, { sparsity, pattern, relativeError });
  using unsolved = new ResourceSet();
  unsolved.add(baseline);
  // Nothing was pruned, so Q is W.
  if (baseline.zeros === 0) {
    unsolved.move();
    return { ...baseline, refitSteps: 0, iterations: 0, keptSparseGpt: false };
  }
  const delta = layer.weight, { refitSteps, validation } = options;
  const { q: baselineQ, mask: baselineMask } = baseline;
  const baselineRefit = await refit(
    backend,
    { delta, q: baselineQ, mask: baselineMask },
    statistics,
    refitSteps,
    validation,
  );
  if (sparsity === 0 && pattern.kind === "unstructured") {
    const { steps, after: { loss } } = baselineRefit;
    unsolved.move();
    return { ...baseline, loss, refitSteps: steps, iterations: 0, keptSparseGpt: false };
  }
  const found = unsolved.add(await findMask(backend, layer, baseline, factor.blocksize, statistics, options));
  const foundRefit = await refit(backend, found, statistics, refitSteps, validation);
  const keptSparseGpt = !isLowerLoss(foundRefit.after, baselineRefit.after);
  const [better, report, zeros] = keptSparseGpt ? [baseline, baselineRefit, baseline.zeros] : [
    found,
    foundRefit,
    await countPruned(backend, { ...found, weight: delta }, options, found.prunedCount),
  ];
  if (!keptSparseGpt) copyMatrix(backend, found.delta, delta);
  const { q, mask } = better;
  unsolved.move();
  found.destroyScratch();
  (keptSparseGpt ? found : baseline).destroy();
  return {
    q,
    mask,
    zeros,
    loss: report.after.loss,
    weightForm: baseline.weightForm,
    refitSteps: report.steps,
    iterations: iterations * rungs,
    keptSparseGpt,
    destroy: () => better.destroy(),
  };
}

/** The weights after pruning with the mask that ADMM found, before the refit. */
interface FoundWeights {
  readonly delta: TiledMatrix; // Δ = W − Q
  readonly q: TiledMatrix;
  readonly mask: DeviceBuffer;
  readonly forced: EntryChooser["forced"];
  readonly prunedCount: number;
  /** Frees everything except `q` and `mask`. */
  destroyScratch(): void;
  /** Frees everything. Idempotent. */
  destroy(): void;
}

/**
 * Runs ADMM. `baseline` is the solution of SparseGPT, which has also replaced `layer.weight` by Δ. The function computes W = Δ + Q from
 * both.
 */
async function findMask(
  backend: Backend,
  layer: Layer,
  baseline: Solution,
  blocksize: number,
  statistics: ScaledStatistics,
  options: AlpsOptions,
): Promise<FoundWeights> {
  using found = new ResourceSet(), foundScratch = new ResourceSet(), working = new ResourceSet();
  const { weight } = layer;
  const z = found.add(allocateLike(backend, weight, "z"));
  const mask = found.add(backend.createBuffer("mask", 4 * weight.rows * wordsPerRow(weight.cols)));
  const w = foundScratch.add(allocateLike(backend, weight, "weight"));
  const chooser = foundScratch.add(new EntryChooser(backend, layer, options));
  const g = working.add(allocateLike(backend, weight, "g")),
    b = working.add(allocateLike(backend, weight, "b"));
  copyMatrix(backend, weight, w);
  addScaled(backend, baseline.q, 1, w, baseline.mask);
  copyMatrix(backend, w, z);
  scaleColumns(backend, z, statistics.scale);
  symmetricProduct(backend, z, statistics.a, g);
  chooser.choose(z, mask);

  const ladder = working.add(new FactorLadder(backend, statistics.a, blocksize));
  const { rho: firstRho, growth, iterations, rungs } = ALPS_SCHEDULES[options.effort];
  let previousRho = 0; // V = 0 before the first iteration
  for (let rung = 0; rung < rungs; rung++) {
    const rho = firstRho * growth ** rung;
    ladder.factor(rho);
    for (let iteration = 0; iteration < iterations; iteration++) {
      // B = (G − V + ρ·D)·(Â + ρI)⁻¹, where V = previousRho·Z at pruned entries and D = Z at kept entries.
      copyMatrix(backend, z, b);
      combineMasked(backend, g, b, mask, { keptX: 1, keptY: rho, prunedX: 1, prunedY: -previousRho });
      ladder.solve(b);
      // Z = B + V/ρ
      combineMasked(backend, b, z, mask, { keptX: 1, keptY: 0, prunedX: 1, prunedY: previousRho / rho });
      chooser.choose(z, mask);
      previousRho = rho;
    }
  }
  await ladder.requireFactored();
  // Q = D/s, and Δ = W − Q. Pruned entries become Z − Z instead of 0·Z, because 0·Z may be −0.
  copyMatrix(backend, z, b);
  combineMasked(backend, b, z, mask, { keptX: 1, keptY: 0, prunedX: 1, prunedY: -1 });
  scaleColumns(backend, z, statistics.inverseScale);
  addScaled(backend, z, -1, w, mask);
  const scratch = foundScratch.move(), kept = found.move();
  return {
    delta: w,
    q: z,
    mask,
    forced: chooser.forced,
    prunedCount: chooser.prunedCount,
    destroyScratch: () => scratch.destroy(),
    destroy() {
      scratch.destroy();
      kept.destroy();
    },
  };
}
