/**
 * Magnitude pruning, the baseline method. It prunes the entries with the smallest |w| of the whole layer, or of each group of an n:m
 * pattern, and does not change the other entries. The statistics H are optional, because they are needed only to compute the error of
 * the result.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { addScaled, allocateLike, copyMasked } from "../linalg/tile_arithmetic.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { EntryChooser } from "./entry_chooser.ts";
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
  const { weight } = layer, { rows, cols } = weight;
  if (hessian) checkStatisticsFit(weight, hessian);
  if (weight.tileCols > 1) checkGroupsFit("tile edge", weight.edge, options.pattern);
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const mask = unsolved.add(backend.createBuffer("mask", 4 * rows * wordsPerRow(cols)));
  const chooser = scratch.add(new EntryChooser(backend, layer, options));
  chooser.choose(weight, mask);
  const zeros = await countPruned(
    backend,
    { weight, mask, forced: chooser.forced },
    options,
    chooser.prunedCount,
  );
  const solution = await keepOriginals(backend, weight, mask, hessian, options, zeros);
  unsolved.move();
  return solution;
}

/**
 * Makes the solution whose kept weights are the original ones. `weight` holds the weights W and becomes Δ = W − Q.
 * @param mask the entries to keep, in the layout of `Solution.mask`. The solution owns it, unless the function throws
 * @param hessian H, with which the errors are measured, as in `solveMagnitude`
 * @param zeros the number of pruned entries
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function keepOriginals(
  backend: Backend,
  weight: TiledMatrix,
  mask: DeviceBuffer,
  hessian: TiledMatrix | undefined,
  { relativeError }: SolveOptions,
  zeros: number,
): Promise<Solution> {
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const forms = hessian && scratch.add(new FormSums(backend, weight, hessian));
  if (relativeError) forms?.measureWeight();
  const q = unsolved.add(allocateLike(backend, weight, "q"));
  copyMasked(backend, weight, q, mask);
  addScaled(backend, q, -1, weight, mask);
  const figures = await forms?.measureError() ?? { loss: null, weightForm: null };
  unsolved.move();
  return toSolution({ q, mask }, { zeros, ...figures });
}
