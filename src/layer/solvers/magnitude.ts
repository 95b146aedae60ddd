/**
 * Magnitude pruning, the baseline method. It prunes the entries with the smallest |w| of the whole layer, or of each group of an n:m
 * pattern, and does not change the other entries. It uses the same kernels as SparseGPT. In SparseGPT the matrix U spreads the error of a
 * pruned weight to other columns. Here U is the identity, so no error is spread. The statistics H are optional, because they are needed
 * only to compute the error of the result.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type IndexRange, splitIntoPanels, type TiledMatrix } from "../../device/tiled_matrix.ts";
import { MAX_BLOCK_SIZE } from "../../device/kernels/column_loop.ts";
import { RADIX_LEVELS } from "../../device/kernels/selection/select.ts";
import type { Submatrix } from "../linalg/tile_arithmetic.ts";
import { PruningBudget } from "../../tensor/pattern.ts";
import {
  checkGroupsFit,
  checkStatisticsFit,
  countPruned,
  FormSums,
  type Layer,
  type Solution,
  type SolveOptions,
  toSolution,
} from "./solver.ts";
import { Selection } from "./selection.ts";
import { SolveWorkspace } from "./solve_workspace.ts";

/**
 * Prunes `layer`. `layer.weight` holds the weights W and becomes Δ = W − Q, where Q is the pruned weights.
 * @param hessian H, (cols, cols) f32 in upper storage, undamped, with the tile edge of the weight. The caller keeps it. Its values do not
 *   change, but the undefined lower triangles of its diagonal tiles are filled in.
 * @throws {RangeError} if weight and statistics have different tilings or orders, or a group of the pattern would extend over two tiles
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
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
  const blocksize = blockSizeFor(weight, options);
  const blocks = [...splitIntoPanels(weight.cols, weight.edge, blocksize)];
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const workspace = unsolved.add(new SolveWorkspace(backend, layer, blocksize));
  const forms = hessian && scratch.add(new FormSums(backend, weight, hessian));
  if (options.relativeError) forms?.measureWeight();

  const inverse = identity(backend, scratch, blocksize);
  const budget = new PruningBudget(options.sparsity);
  if (pattern.kind === "n:m") {
    for (const block of blocks) {
      workspace.load(block);
      workspace.pruneGroups(block, inverse, pattern);
    }
  } else {
    const scored = { scale: ones(backend, scratch, weight.cols), forced: workspace.forced };
    const selection = scratch.add(new Selection(backend, weight.rows, weight.cols, blocksize, scored));
    const forced = workspace.forced.count({ start: 0, end: weight.cols });
    selectInLayer(workspace, selection, blocks, budget.take(weight.rows * weight.cols, forced));
    for (const block of blocks) {
      workspace.load(block);
      selection.computeKeys(workspace, block);
      workspace.pruneSelected(block, inverse, selection);
    }
  }
  const figures = await forms?.measureError() ?? { loss: null, weightForm: null };
  const zeros = await countPruned(backend, workspace, options, budget.pruned);
  unsolved.move();
  workspace.destroyScratch();
  return toSolution(workspace, { zeros, ...figures });
}

/**
 * Queues selecting the `count` entries with the smallest |w| of the whole layer. Each pass of the radix select counts the keys of all
 * blocks before it narrows the threshold. Only the keys of one block are stored, so every pass computes the keys again.
 */
function selectInLayer(
  workspace: SolveWorkspace,
  selection: Selection,
  blocks: readonly IndexRange[],
  count: number,
): void {
  for (let level = 0; level < RADIX_LEVELS; level++) {
    for (const block of blocks) {
      workspace.load(block);
      selection.computeKeys(workspace, block);
      selection.addToHistogram(block, level);
    }
    selection.narrowThreshold(level, count);
  }
  blocks.forEach((block, i) => {
    workspace.load(block);
    selection.computeKeys(workspace, block);
    selection.countTies(block, i > 0);
  });
  selection.assignTies();
}

/** Returns the largest block size that the prune kernels accept, that consists of whole groups, and that the layer can fill. */
function blockSizeFor({ cols }: TiledMatrix, { pattern }: SolveOptions): number {
  const group = pattern.kind === "n:m" ? pattern.group : 1;
  return Math.min(Math.floor(MAX_BLOCK_SIZE / group) * group, Math.ceil(cols / group) * group);
}

/** Creates the (order, order) identity, which spreads no error from one column to the others. */
export function identity(backend: Backend, scratch: ResourceSet, order: number): Submatrix {
  const values = new Float32Array(order * order);
  for (let i = 0; i < order; i++) values[i * order + i] = 1;
  return { buffer: scratch.add(createBufferOf(backend, "identity", values)), offset: 0, ld: order };
}

export function ones(backend: Backend, scratch: ResourceSet, count: number): DeviceBuffer {
  return scratch.add(createBufferOf(backend, "ones", new Float32Array(count).fill(1)));
}
