/**
 * Removes whole columns of a layer, which are its inputs, in sets of neighbours. This is ExactOBS for a mask that all
 * rows share. `obc/column_choice.ts` chooses the sets. The least-squares weights of the remaining columns are then
 * computed by one pass of SparseGPT, which compensates for a pruned column in all later ones. So the columns are put
 * into an order in which the removed ones come first. For n columns and the share s of removed ones, the choice takes
 * (4/3 + 2 + 3·s)·n³ + n²·rows multiplications, and the pass n³/3 + n²·rows/2.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { gemmTN } from "../../device/kernels/gemm.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { type Pattern, removedColumns, wordsPerRow } from "../../tensor/pattern.ts";
import { factor } from "../linalg/factor.ts";
import { gemm } from "../linalg/gemm.ts";
import { copyShrunk } from "../linalg/shrink.ts";
import { addScaled, allocateLike, copyMatrix, copyTiled, submatrixOf } from "../linalg/tile_arithmetic.ts";
import { chooseColumns } from "./obc/column_choice.ts";
import { invertStatistics } from "./obc/inverse_statistics.ts";
import type { ObcOptions, ObcSolution } from "./obc.ts";
import { checkStatisticsFit, type ForcedEntries, FormSums, KEEP_ALL, type Layer } from "./solver.ts";
import { solveSparseGpt, zeroDeadInputs } from "./sparsegpt.ts";

/** The largest error with a shrunk H, as a share of tr(W·H·Wᵀ), which is the size of the outputs. */
export const LARGEST_SHRUNK_ERROR = 0.015;

/** The shrinkages that can be chosen are the multiples of one part, without 1. */
export const SHRINKAGE_PARTS = 8;

export interface ColumnOptions extends ObcOptions {
  readonly pattern: Pattern & { kind: "columns" };
  /** Columns per block of the factor, which divides the tile edge. */
  readonly blocksize: number;
  /** Whether H is shrunk (see `solveColumns`). @default false */
  readonly shrinks?: boolean;
}

/**
 * Removes round(s·sets) sets of columns of `layer`, but never all. `layer.weight` becomes Δ = W − Q, and Q is 0 in the
 * removed columns.
 *
 * With `shrinks`, the columns and the weights are those for (1 − s)·H + s·diag(H) in place of H (`linalg/shrink.ts`). The
 * least-squares weights for H use correlations that inputs of another kind do not have. With s = 1 nothing would
 * compensate, and the inputs of a column alone would decide about it, as in FLAP (arXiv 2312.11983). The largest s is taken
 * with which the error on H itself is at most {@link LARGEST_SHRUNK_ERROR}. If the error with s = 0 is larger, H is not
 * shrunk. The error hardly ever falls with s, so bisection finds it.
 * @param layer has no forced entries. Its columns are whole sets
 * @param hessian H, (cols, cols) f32 upper storage, undamped, with the tile edge of the weight. The caller keeps
 *   ownership. Only the undefined lower triangles of its diagonal tiles are changed, which are filled in.
 * @throws {RangeError} if weight and statistics have different tilings or orders
 * @throws {InvalidStatisticsError} if a diagonal entry of H is negative or not finite
 * @throws {NotPositiveDefiniteError} if no damping makes H positive definite
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function solveColumns(
  backend: Backend,
  layer: Layer,
  hessian: TiledMatrix,
  options: ColumnOptions,
): Promise<ObcSolution> {
  const { weight } = layer, { shrinks = false, relativeError } = options;
  checkStatisticsFit(weight, hessian);
  if (!shrinks) return await removeColumns(backend, weight, hessian, hessian, options);
  using owned = new ResourceSet();
  const original = owned.add(allocateLike(backend, weight, "original weights"));
  copyMatrix(backend, weight, original);
  let best = await removeColumns(backend, weight, hessian, hessian, { ...options, relativeError: true });
  try {
    const { weightForm } = best, limit = LARGEST_SHRUNK_ERROR * (weightForm ?? NaN);
    let low = 0, high = best.zeros > 0 && best.loss !== null && best.loss <= limit ? SHRINKAGE_PARTS : 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1, shrinkage = middle / SHRINKAGE_PARTS;
      copyMatrix(backend, original, weight);
      using scratch = new ResourceSet();
      const shrunk = scratch.add(await copyShrunk(backend, hessian, shrinkage));
      const other = await removeColumns(backend, weight, shrunk, hessian, {
        ...options,
        relativeError: false,
      });
      const isAllowed = other.loss !== null && other.loss <= limit;
      (isAllowed ? best : other).destroy();
      // The errors of the rows are those on the shrunk H.
      if (isAllowed) [best, low] = [{ ...other, rowErrors: undefined, weightForm, shrinkage }, middle];
      else high = middle;
    }
    copyMatrix(backend, original, weight);
    addScaled(backend, best.q, -1, weight, best.mask);
    return { ...best, ...!relativeError && { weightForm: null } };
  } catch (error) {
    best.destroy();
    throw error;
  }
}

/**
 * Removes columns of `weight`, which becomes Δ = W − Q.
 * @param statistics H, or in its place a matrix that chooses the columns and the weights
 * @param hessian H, with which the errors are measured
 */
async function removeColumns(
  backend: Backend,
  weight: TiledMatrix,
  statistics: TiledMatrix,
  hessian: TiledMatrix,
  options: ColumnOptions,
): Promise<ObcSolution> {
  const { cols, edge } = weight, { blocksize, pattern, sparsity } = options;
  using scratch = new ResourceSet(), choice = new ResourceSet();
  const forms = scratch.add(new FormSums(backend, weight, hessian));
  const inverted = choice.add(
    await invertStatistics(backend, statistics, options.damping, { edge, blocksize }),
  );
  const { damping, dead, inverse } = inverted;
  if (dead) zeroDeadInputs(backend, weight, dead);
  if (options.relativeError) forms.measureWeight();
  const gram = choice.add(gramOf(backend, weight)), count = removedColumns(pattern, sparsity, cols);
  const removed = await chooseColumns(backend, inverse, gram, pattern.group, count);
  choice.destroy(); // The factorisation takes the memory of two matrices.
  removed.sort((a, b) => a - b);
  const isRemoved = new Set(removed), columns = Uint32Array.from({ length: cols }, (_, j) => j);
  const kept = columns.filter((column) => !isRemoved.has(column));
  const order = new Uint32Array(cols);
  order.set(removed);
  order.set(kept, removed.length);
  const factored = scratch.add(
    await factor(backend, copyTiled(backend, statistics, edge), { damping, blocksize, order }),
  );
  const forced = forceColumns(backend, weight, isRemoved);
  scratch.add(forced.bits);
  using unsolved = new ResourceSet();
  const solution = unsolved.add(await solveSparseGpt(backend, { weight, forced }, factored, KEEP_ALL));
  const figures = await forms.measureError();
  unsolved.move();
  return { ...solution, ...figures, kept, damping: factored.damping };
}

/** Allocates Wᵀ·W, (cols, cols) f32, and queues computing it. The caller owns it. @throws {OutOfDeviceMemoryError} */
function gramOf(backend: Backend, weight: TiledMatrix): TiledMatrix {
  const { cols, edge } = weight;
  const gram = new TiledMatrix(backend, { label: "gram matrix of the weights", rows: cols, cols, edge });
  for (const { buffer, rows: m, cols: n, ld, row0, col0 } of gram.tiles()) {
    for (let i = 0; i < weight.tileRows; i++) {
      const left = weight.tile(i, row0 / edge), right = weight.tile(i, col0 / edge);
      const a = submatrixOf(left, left.row0, row0), b = submatrixOf(right, right.row0, col0);
      gemm(backend, gemmTN, a, b, { buffer, offset: 0, ld }, { m, n, k: left.rows, beta: i > 0 ? 1 : 0 });
    }
  }
  return gram;
}

/** Returns forced entries in all rows of the columns `removed`. The caller frees the bits. */
function forceColumns(
  backend: Backend,
  { rows, cols }: TiledMatrix,
  removed: ReadonlySet<number>,
): ForcedEntries & { readonly bits: DeviceBuffer } {
  const words = wordsPerRow(cols), row = new Uint32Array(words), all = new Uint32Array(rows * words);
  const perColumn = new Uint32Array(cols);
  for (const column of removed) {
    row[column >>> 5] |= 1 << (column & 31);
    perColumn[column] = rows;
  }
  for (let r = 0; r < rows; r++) all.set(row, r * words);
  return { bits: createBufferOf(backend, "forced columns", all), perColumn };
}
