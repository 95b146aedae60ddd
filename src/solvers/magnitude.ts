/**
 * Magnitude pruning, the baseline: the smallest |w| of the whole layer go, no weight is updated. It runs the solve's own kernels with
 * U = I, which spreads no error. Statistics are optional and only judge the result.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { MAX_BLOCK_SIZE } from "../kernels/prune_block.ts";
import { RADIX_LEVELS } from "../kernels/select.ts";
import type { Block } from "../linalg/gemm.ts";
import { Owned } from "../linalg/owned.ts";
import { addQuadraticForm, mirrorDiagonalTiles } from "../linalg/quadratic_form.ts";
import { panels, type Range } from "../linalg/ranges.ts";
import { RowSums } from "../linalg/row_sums.ts";
import { PruningBudget } from "../sparsity/budget.ts";
import { relativeError, undamped } from "./loss.ts";
import { checkGroupsFit, checkStatisticsFit } from "./operands.ts";
import { Selection } from "./selection.ts";
import { countZeros, toSolution } from "./solution.ts";
import type { Layer, Solution, SolveOptions } from "./solver.ts";
import { Workspace } from "./workspace.ts";

/** Columns of the sums taken with statistics: tr(WHWᵀ) and tr(ΔHΔᵀ). */
const TOTAL = 0, LOSS = 1;

/**
 * Prunes `layer`. `layer.weight` becomes Δ. `hessian`, (cols, cols) undamped, upper storage with the weight's tile edge, is not consumed;
 * the lower triangles of its diagonal tiles are filled in.
 * @throws {RangeError} when layer and statistics do not fit each other, or the device has no room
 */
export async function solveMagnitude(
  backend: Backend,
  layer: Layer,
  hessian: TiledMatrix | undefined,
  options: SolveOptions,
): Promise<Solution> {
  const { weight } = layer, { pattern } = options;
  if (hessian) checkStatisticsFit(weight, hessian);
  if (weight.tileCols > 1) checkGroupsFit("tile edge", weight.edge, pattern);
  const chunk = chunkWidth(weight, options);
  const chunks = [...panels(weight.cols, weight.edge, chunk)];
  const workspace = new Workspace(backend, layer, chunk);
  const scratch = new Owned();
  try {
    const judged = hessian && scratch.add(new RowSums(backend, weight.rows, 2));
    if (hessian) mirrorDiagonalTiles(backend, hessian);
    if (judged && options.relativeError) addQuadraticForm(backend, weight, hessian!, judged, TOTAL);

    const inverse = identity(backend, scratch, chunk);
    const budget = new PruningBudget(options.sparsity);
    if (pattern.kind === "n:m") {
      for (const k of chunks) {
        workspace.load(k);
        workspace.pruneGroups(k, inverse, pattern);
      }
    } else {
      const scoring = { scale: ones(backend, scratch, weight.cols), forced: workspace.forced };
      const selection = scratch.add(new Selection(backend, weight.rows, weight.cols, chunk, scoring));
      const forced = workspace.forced.count({ start: 0, end: weight.cols });
      chooseInLayer(workspace, selection, chunks, budget.take(weight.rows * weight.cols, forced));
      for (const k of chunks) {
        workspace.load(k);
        selection.score(workspace, k);
        workspace.pruneChosen(k, inverse, selection);
      }
    }
    if (judged) addQuadraticForm(backend, weight, hessian!, judged, LOSS);

    const totals = await judged?.totals();
    const loss = totals ? undamped(totals[LOSS], 0, 0) : null;
    const solution = toSolution(workspace, {
      zeros: await countZeros(backend, workspace, options, budget.pruned),
      loss,
      relativeError: totals && options.relativeError
        ? relativeError(loss!, undamped(totals[TOTAL], 0, 0))
        : null,
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

/** Queues choosing the `count` smallest |w| of the whole layer: every pass goes through all chunks before it narrows. */
function chooseInLayer(
  workspace: Workspace,
  selection: Selection,
  chunks: readonly Range[],
  count: number,
): void {
  for (let level = 0; level < RADIX_LEVELS; level++) {
    for (const k of chunks) {
      workspace.load(k);
      selection.score(workspace, k);
      selection.count(k, level);
    }
    selection.narrow(level, count);
  }
  chunks.forEach((k, i) => {
    workspace.load(k);
    selection.score(workspace, k);
    selection.countTies(k, i > 0);
  });
  selection.rankTies();
}

/** As many columns as the prune kernels take, in whole groups. */
function chunkWidth({ cols }: TiledMatrix, { pattern }: SolveOptions): number {
  const group = pattern.kind === "n:m" ? pattern.group : 1;
  return Math.min(Math.floor(MAX_BLOCK_SIZE / group) * group, Math.ceil(cols / group) * group);
}

function identity(backend: Backend, scratch: Owned, order: number): Block {
  const values = new Float32Array(order * order);
  for (let i = 0; i < order; i++) values[i * order + i] = 1;
  return { buffer: constant(backend, scratch, "identity", values), offset: 0, ld: order };
}

function ones(backend: Backend, scratch: Owned, count: number): DeviceBuffer {
  return constant(backend, scratch, "ones", new Float32Array(count).fill(1));
}

function constant(
  backend: Backend,
  scratch: Owned,
  label: string,
  values: Float32Array<ArrayBuffer>,
): DeviceBuffer {
  const buffer = scratch.add(backend.createBuffer(label, values.byteLength));
  backend.write(buffer, 0, new Uint8Array(values.buffer));
  return buffer;
}
