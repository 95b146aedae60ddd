/**
 * SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1) over a factor H = R·Rᵀ in place of the inverse's: U = R⁻¹ is only
 * ever needed a block at a time, and the lazy batch update of a block is A_k·U_kk with A_k = Σ_{j<k} Δ_j·R_jk (DESIGN §3.4). One queue of work
 * with no read-back until the sums at its end.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { gemmNN } from "../kernels/gemm.ts";
import { zeroColumns } from "../kernels/zero_columns.ts";
import type { Factor } from "../linalg/factor.ts";
import { type Block, gemm } from "../linalg/gemm.ts";
import { Owned } from "../linalg/owned.ts";
import { PanelProduct } from "../linalg/panel_product.ts";
import { addFactoredForm, addSquaredNorm } from "../linalg/quadratic_form.ts";
import { type Range, ranges } from "../linalg/ranges.ts";
import { RowSums } from "../linalg/row_sums.ts";
import { PruningBudget } from "../sparsity/budget.ts";
import { relativeError, undamped } from "./loss.ts";
import { checkGroupsFit, checkStatisticsFit } from "./operands.ts";
import { Selection } from "./selection.ts";
import { countZeros, toSolution } from "./solution.ts";
import type { Layer, Solution, SolveOptions } from "./solver.ts";
import { Workspace } from "./workspace.ts";

/**
 * Prunes `layer` against `factor`, which it only reads. `layer.weight` becomes Δ.
 * @throws {RangeError} when layer and factor do not fit each other, groups straddle blocks, or the device has no room
 */
export async function solveSparseGpt(
  backend: Backend,
  layer: Layer,
  factor: Factor,
  options: SolveOptions,
): Promise<Solution> {
  const { weight } = layer, { r, blocksize } = factor, { pattern } = options;
  checkStatisticsFit(weight, r);
  checkGroupsFit("block size", blocksize, pattern);
  const workspace = new Workspace(backend, layer, blocksize);
  const scratch = new Owned();
  try {
    if (factor.dead) zeroDeadInputs(backend, weight, factor.dead);
    const accumulated = scratch.add(new PanelProduct(backend, weight, r, blocksize));
    const norm = options.relativeError ? scratch.add(new RowSums(backend, weight.rows, 2)) : undefined;
    if (norm) addWeightNorm(accumulated, weight, norm);

    const budget = new PruningBudget(options.sparsity);
    const scoring = { scale: factor.diagonal, forced: workspace.forced };
    const selection = scratch.add(new Selection(backend, weight.rows, weight.cols, blocksize, scoring));
    for (const panel of accumulated.panels()) {
      accumulated.begin(panel);
      for (const k of ranges(panel, blocksize)) {
        const inverse = inverseBlock(factor, k);
        workspace.load(k);
        compensate(backend, workspace, accumulated, panel, k, inverse);
        if (pattern.kind === "n:m") {
          workspace.pruneGroups(k, inverse, pattern);
        } else {
          const entries = weight.rows * (k.end - k.start);
          selection.choose(workspace, k, budget.take(entries, workspace.forced.count(k)));
          workspace.pruneChosen(k, inverse, selection);
        }
      }
    }

    const [errorSquared, deltaSquared] = await workspace.sums.totals();
    const loss = undamped(errorSquared, factor.dampingAdded, deltaSquared);
    const total = norm && await weightNorm(norm, factor.dampingAdded);
    const solution = toSolution(workspace, {
      zeros: await countZeros(backend, workspace, options, budget.pruned),
      loss,
      relativeError: total === undefined ? null : relativeError(loss, total),
    });
    workspace.destroyScratch();
    return solution;
  } catch (error) {
    workspace.destroy();
    throw error;
  } finally {
    scratch.destroy();
  }
}

/** Queues W[:, j] = 0 for the inputs j that calibration never saw active. */
function zeroDeadInputs(backend: Backend, weight: TiledMatrix, dead: DeviceBuffer): void {
  for (const { buffer: w, rows, cols, ld, col0: first } of weight.tiles()) {
    backend.dispatch(zeroColumns, { dead, w }, { rows, cols, ld, first });
  }
}

/** U_kk. */
function inverseBlock({ u, blocksize }: Factor, k: Range): Block {
  return { buffer: u, offset: k.start * blocksize, ld: blocksize };
}

/** Queues work = W_k + A_k·U_kk, the lazy batch update of the block k. A_k gathers what its panel has finished since `begin`. */
function compensate(
  backend: Backend,
  workspace: Workspace,
  accumulated: PanelProduct,
  panel: Range,
  k: Range,
  inverse: Block,
): void {
  if (k.start === 0) return;
  accumulated.extend(panel, { start: panel.start, end: k.start }, k);
  const size = k.end - k.start;
  const product = { m: workspace.weight.rows, n: size, k: size, beta: 1 };
  gemm(backend, gemmNN, accumulated.block(panel, 0, k.start), inverse, workspace.workBlock(0), product);
}

/** Queues ‖W·R‖² and ‖W‖² a row: tr(WHWᵀ) and what the damping adds to it. `product` is of W and R. */
function addWeightNorm(product: PanelProduct, weight: TiledMatrix, sums: RowSums): void {
  addFactoredForm(product, sums, 0);
  addSquaredNorm(weight, sums, 1);
}

/** tr(WHWᵀ), undamped. */
async function weightNorm(sums: RowSums, dampingAdded: number): Promise<number> {
  const [squared, squaredNorm] = await sums.totals();
  return undamped(squared, dampingAdded, squaredNorm);
}
