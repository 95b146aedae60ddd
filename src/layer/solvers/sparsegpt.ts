/**
 * The SparseGPT solver (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1). It runs steps 4 and 5 of the algorithm in `README.md`,
 * which defines the names W, Q, Δ, H, R and U. The paper uses the Cholesky factor U of H⁻¹. This solver uses R = U⁻¹, the factor of H =
 * R·Rᵀ, and needs only the diagonal blocks U_kk of U.
 *
 * Before block k is pruned, the errors of all earlier blocks are compensated at once. The solver adds A_k·U_kk to the weights of the block,
 * with A_k = Σ_{j<k} Δ_j·R_jk. The paper calls this the lazy batch update. The whole solve is queued without waiting for the device. At
 * the end, the sums are read back, and also the mask if its zeros must be counted (`countPruned`).
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { zeroColumns } from "../../device/kernels/zero_columns.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type IndexRange, splitRange, type TiledMatrix } from "../../device/tiled_matrix.ts";
import { type ColumnOrder, permuteBits, permuteColumns } from "../linalg/column_order.ts";
import type { Factor } from "../linalg/factor.ts";
import { PanelProduct } from "../linalg/gemm.ts";
import { addFactoredForm, addInnerProduct, RowSums, total } from "../linalg/quadratic_form.ts";
import { allocateLike, type Submatrix } from "../linalg/tile_arithmetic.ts";
import { JointPass } from "./rounding/joint_pass.ts";
import {
  type BlockUpdate,
  checkGroupsFit,
  checkStatisticsFit,
  countPruned,
  type ForcedEntries,
  type Layer,
  type Solution,
  type SparseGptOptions,
  toSolution,
  undampedForm,
} from "./solver.ts";
import { Selection } from "./selection.ts";
import { SolveWorkspace } from "./solve_workspace.ts";
import { PruningBudget, wordsPerRow } from "../../tensor/pattern.ts";
import { checkQuantization } from "../../tensor/quantization.ts";

/**
 * Prunes `layer` with the factor of its statistics, and rounds the kept weights if the options say so. The factor is not modified.
 * `layer.weight` becomes Δ = W − Q. The loss includes the rounding errors.
 * @throws {RangeError} if layer and factor have different tilings or orders, the block size is not a multiple of the pattern's group size,
 *   or the options contradict the factor or the weight (`checkOptions`)
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function solveSparseGpt(
  backend: Backend,
  layer: Layer,
  factor: Factor,
  options: SparseGptOptions,
): Promise<Solution> {
  const { weight } = layer, { r, blocksize } = factor, { pattern } = options;
  checkStatisticsFit(weight, r);
  checkGroupsFit("block size", blocksize, pattern);
  checkOptions(weight, factor, options);
  const solve = (permuted: Layer, mask = options.fixedMask) =>
    solveInOrder(backend, permuted, factor, { ...options, fixedMask: mask });
  return factor.order
    ? await solvePermuted(backend, layer, factor.order, options.fixedMask, solve)
    : await solve(layer);
}

/**
 * Checks the rounding, the order of the columns, and the fixed mask.
 * @throws {RangeError} that names the parameter, the rule and the value
 */
function checkOptions(
  { rows, cols }: TiledMatrix,
  { blocksize, order }: Pick<Factor, "blocksize" | "order">,
  { pattern, quantization, fixedMask }: SparseGptOptions,
): void {
  if (quantization) {
    const patternGroup = pattern.kind === "n:m" ? pattern.group : 1;
    checkQuantization(quantization, { blocksize, patternGroup });
  }
  const orderOfFactor = order ? "activation" : "natural", wanted = quantization?.order ?? orderOfFactor;
  if (orderOfFactor !== wanted) {
    throw new RangeError(
      `order ${wanted}: needs a factor in this order, but the factor's order is ${orderOfFactor}`,
    );
  }
  if (order && pattern.kind === "n:m") {
    throw new RangeError(
      "an n:m pattern: needs a factor in natural order, but the factor's order is activation",
    );
  }
  if (!fixedMask) return;
  if (!quantization) {
    throw new RangeError("a fixed mask: needs quantization, because pruning alone chooses its own mask");
  }
  const expected = 4 * rows * wordsPerRow(cols);
  if (fixedMask.byteLength !== expected) {
    throw new RangeError(
      `a fixed mask of ${fixedMask.byteLength} bytes: must have ${expected} bytes for a weight of ${rows}×${cols}`,
    );
  }
}

/** Solves a layer whose columns have the order of the factor. */
async function solveInOrder(
  backend: Backend,
  layer: Layer,
  factor: Factor,
  options: SparseGptOptions,
): Promise<Solution> {
  const { weight } = layer, { r, blocksize } = factor, { pattern, quantization } = options;
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const workspace = unsolved.add(new SolveWorkspace(backend, layer, blocksize));
  if (factor.dead) zeroDeadInputs(backend, weight, factor.dead);
  const accumulated = scratch.add(new PanelProduct(backend, weight, r, blocksize));
  const weightSums = options.relativeError ? scratch.add(new RowSums(backend, weight.rows, 2)) : undefined;
  if (weightSums) addWeightSums(accumulated, weight, weightSums);

  const budget = new PruningBudget(options.sparsity);
  const scored = { scale: factor.diagonal, forced: workspace.forced };
  const selection = scratch.add(new Selection(backend, weight.rows, weight.cols, blocksize, scored));
  const joint = quantization &&
    unsolved.add(new JointPass(backend, workspace, factor.diagonal, quantization, options));
  const needsSelection = joint ? joint.needsSelection : pattern.kind !== "n:m";
  for (const panel of accumulated.panels()) {
    accumulated.startPanel(panel);
    for (const k of splitRange(panel, blocksize)) {
      const inverse = inverseBlock(factor, k);
      const update = updateOf(accumulated, panel, k, inverse);
      const count = budget.take(weight.rows * (k.end - k.start), workspace.forced.count(k));
      if (needsSelection) selection.loadAndSelect(workspace, k, update, count);
      else workspace.load(k, update);
      if (joint) joint.run(k, inverse, selection.state);
      else if (pattern.kind === "n:m") workspace.pruneGroups(k, inverse, pattern);
      else workspace.pruneSelected(k, inverse, selection);
    }
  }

  const [rowErrors, deltaSquares] = await workspace.sums.columns();
  const solution = toSolution(workspace, {
    zeros: await countPruned(backend, workspace, options, budget.pruned),
    rowErrors,
    loss: undampedForm(total(rowErrors), factor.dampingAdded, total(deltaSquares)),
    weightForm: weightSums ? await readWeightForm(weightSums, factor.dampingAdded) : null,
  }, joint?.grids);
  unsolved.move();
  workspace.destroyScratch();
  return solution;
}

/** Queues W[:, j] = 0 for the dead inputs j, which were 0 in every calibration token. */
export function zeroDeadInputs(backend: Backend, weight: TiledMatrix, dead: DeviceBuffer): void {
  for (const { buffer: w, rows, cols, ld, col0: first } of weight.tiles()) {
    backend.dispatch(zeroColumns, { dead, w }, { rows, cols, ld, first });
  }
}

function inverseBlock({ u, blocksize }: Factor, k: IndexRange): Submatrix {
  return { buffer: u, offset: k.start * blocksize, ld: blocksize };
}

/**
 * Returns the lazy batch update of block k, A_k·U_kk, or undefined for the first block. `startPanel` has already added the terms of the
 * earlier panels to A_k. Adding the terms of the blocks in this panel that are left of block k is queued here.
 */
function updateOf(
  accumulated: PanelProduct,
  panel: IndexRange,
  k: IndexRange,
  inverse: Submatrix,
): BlockUpdate | undefined {
  if (k.start === 0) return undefined;
  accumulated.addWithinPanel(panel, { start: panel.start, end: k.start }, k);
  return { accumulated: accumulated.submatrix(panel, 0, k.start), inverse };
}

/** For each row w of W, queues computing ‖w·R‖² and ‖w‖², from which `readWeightForm` computes tr(W·H·Wᵀ). */
function addWeightSums(product: PanelProduct, weight: TiledMatrix, sums: RowSums): void {
  addFactoredForm(product, sums, 0);
  addInnerProduct(weight, weight, sums, 1);
}

async function readWeightForm(sums: RowSums, dampingAdded: number): Promise<number | null> {
  const [dampedForm, squaredNorm] = await sums.totals();
  return undampedForm(dampedForm, dampingAdded, squaredNorm);
}

/**
 * Permutes `layer` and `fixedMask`, calls `solve` with them, and permutes the solution back. `layer.weight` becomes Δ = W − Q in the
 * natural order.
 * @param solve solves a layer whose columns have the given order
 * @throws {OutOfDeviceMemoryError} and the errors of `solve`. Everything that was allocated is freed.
 */
async function solvePermuted(
  backend: Backend,
  layer: Layer,
  order: ColumnOrder,
  fixedMask: DeviceBuffer | undefined,
  solve: (permuted: Layer, fixedMask: DeviceBuffer | undefined) => Promise<Solution>,
): Promise<Solution> {
  using scratch = new ResourceSet(), results = new ResourceSet();
  const weight = scratch.add(allocateLike(backend, layer.weight, "weight in another order"));
  permuteColumns(backend, layer.weight, order.forward, weight);
  const permute = (bits: DeviceBuffer) =>
    scratch.add(permuteBits(backend, bits, order.forward, layer.weight));
  const forced: ForcedEntries | undefined = layer.forced && {
    bits: permute(layer.forced.bits),
    perColumn: order.columns.map((column) => layer.forced!.perColumn[column]),
  };
  const solution = scratch.add(await solve({ weight, forced }, fixedMask && permute(fixedMask)));
  permuteColumns(backend, weight, order.inverse, layer.weight);
  const q = results.add(allocateLike(backend, solution.q, "q"));
  permuteColumns(backend, solution.q, order.inverse, q);
  const mask = results.add(permuteBits(backend, solution.mask, order.inverse, q));
  const grids = solution.quantized;
  // The grids belong to whole rows, so they are the same in every order.
  const quantized = grids && {
    ...grids,
    scales: results.add(copyOf(backend, grids.scales)),
    zeros: results.add(copyOf(backend, grids.zeros)),
  };
  const owned = results.move();
  return { ...solution, q, mask, quantized, destroy: () => owned.destroy() };
}

function copyOf(backend: Backend, buffer: DeviceBuffer): DeviceBuffer {
  const copy = backend.createBuffer(buffer.label, buffer.byteLength);
  backend.copy(buffer, 0, copy, 0, buffer.byteLength);
  return copy;
}
