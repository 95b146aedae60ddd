/**
 * ExactOBS, the pruning method of Optimal Brain Compression (Frantar & Alistarh 2022, arXiv 2208.11580). In each row it removes one weight
 * at a time: the weight whose removal adds the least to the error. All remaining weights of the row are updated to compensate for the
 * removal. It is the most exact of the greedy methods, and its work grows with rows·cols³ (`obc/weight_removal.ts`).
 *
 * - Unstructured: the weights of every row are removed until none is left, and the losses are recorded. The losses determine the number of
 *   removals of each row (`obc/weight_removal.ts`). A second pass then repeats the removals up to that number. At sparsity s, the second
 *   pass takes about s² of the time of the first one. Two alternatives are more expensive: storing the weights of every step would take
 *   rows·cols² numbers, and a least-squares fit on the mask would have to invert a different part of H for each row.
 * - n:m: a weight may be removed only while its group has more than n weights. So one pass is enough to reach the exact count in every row.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { addScaled, scatterRows } from "../linalg/tile_arithmetic.ts";
import { countBits, wordsPerRow } from "../../tensor/pattern.ts";
import { checkStatisticsFit, FormSums, type Layer, type Solution, type SolveOptions } from "./solver.ts";
import { invertStatistics } from "./obc/inverse_statistics.ts";
import { checkObcSize, type RemovalOperands, removeInBatches, shareRemovals } from "./obc/weight_removal.ts";
import { zeroDeadInputs } from "./sparsegpt.ts";

export interface ObcOptions extends SolveOptions {
  readonly damping: number; // λ ≥ 0 of the first attempt, as a fraction of the mean diagonal entry of H
}

export interface ObcSolution extends Solution {
  /** The λ with which H + λ·mean(diag H)·I was positive definite. */
  readonly damping: number;
  /** s, by which H was shrunk towards its diagonal (`linalg/shrink.ts`). Undefined if whole columns were not removed. */
  readonly shrinkage?: number;
}

/**
 * Prunes `layer`. `layer.weight` becomes Δ = W − Q.
 * @param hessian H, (cols, cols) f32 upper storage, undamped, in tiles of the same size as those of the weight. The caller keeps ownership.
 *   The values of H are not changed, but the undefined lower triangles of its diagonal tiles are filled in.
 * @throws {LayerSizeError} if the layer is too large
 * @throws {RangeError} if weight and statistics have different tilings or orders
 * @throws {InvalidStatisticsError} if a diagonal entry of H is negative or not finite
 * @throws {NotPositiveDefiniteError} if no damping makes H positive definite
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function solveObc(
  backend: Backend,
  layer: Layer,
  hessian: TiledMatrix,
  options: ObcOptions,
): Promise<ObcSolution> {
  const { weight } = layer, { rows, cols, edge } = weight;
  checkObcSize(rows, cols);
  checkStatisticsFit(weight, hessian);
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const forms = scratch.add(new FormSums(backend, weight, hessian));
  const statistics = scratch.add(await invertStatistics(backend, hessian, options.damping));
  if (statistics.dead) zeroDeadInputs(backend, weight, statistics.dead);
  if (options.relativeError) forms.measureWeight();

  const { buffer, ld } = statistics.inverse.tile(0, 0);
  const operands: RemovalOperands = {
    inverse: { buffer, offset: 0, ld },
    inverseDiagonal: statistics.inverseDiagonal,
    diagonal: statistics.diagonal,
    pattern: options.pattern,
    forced: layer.forced && await readWords(backend, layer.forced.bits, rows * wordsPerRow(cols)),
  };
  const counts = options.pattern.kind === "n:m"
    ? countInGroups(rows, cols, options.pattern, operands.forced)
    : await countInLayer(backend, weight, operands, options.sparsity);

  const q = unsolved.add(new TiledMatrix(backend, { label: "q", rows, cols, edge }));
  const bits = await removeCounted(backend, weight, operands, counts, q);
  const mask = unsolved.add(createBufferOf(backend, "mask", bits));
  addScaled(backend, q, -1, weight, mask);
  const figures = await forms.measureError(), owned = unsolved.move();
  const zeros = rows * cols - countBits(bits), { damping } = statistics;
  return { q, mask, zeros, ...figures, damping, destroy: () => owned.destroy() };
}

/** Computes the number of removals of each row from the losses of all rows. Waits for the device. */
async function countInLayer(
  backend: Backend,
  weight: TiledMatrix,
  operands: RemovalOperands,
  sparsity: number,
): Promise<Uint32Array> {
  const { rows, cols } = weight;
  const least = countInGroups(rows, cols, { keep: 1, group: 1 }, operands.forced);
  const total = Math.max(least.reduce((sum, count) => sum + count, 0), Math.round(sparsity * rows * cols));
  const length = Math.min(cols, total);
  const scores = new Float32Array(rows * length);
  const limits = new Uint32Array(rows).fill(length);
  for await (const { rows: batch, trace } of removeInBatches(backend, weight, operands, limits)) {
    const bits = new Float32Array(trace.buffer), start = batch.start * length;
    for (let i = 0; i < trace.length / 2; i++) scores[start + i] = bits[2 * i + 1];
  }
  return shareRemovals({ rows, length, scores }, least, total);
}

/**
 * Returns the number of removals of each row, if each group of `group` columns keeps `keep` weights. A group with more forced weights than
 * that allows loses all its forced weights.
 */
function countInGroups(
  rows: number,
  cols: number,
  { keep, group }: { readonly keep: number; readonly group: number },
  forced: Uint32Array | undefined,
): Uint32Array {
  const counts = new Uint32Array(rows), words = wordsPerRow(cols);
  for (let start = 0; start < cols; start += group) {
    const end = Math.min(start + group, cols),
      removed = end - start - Math.ceil(keep * (end - start) / group);
    for (let r = 0; r < rows; r++) {
      let forcedInGroup = 0;
      for (let c = start; forced && c < end; c++) {
        forcedInGroup += (forced[r * words + (c >>> 5)] >>> (c & 31)) & 1;
      }
      counts[r] += Math.max(removed, forcedInGroup);
    }
  }
  return counts;
}

/** Removes counts[r] weights of each row r and stores the remaining weights in `q`. Returns the bits of the mask. */
async function removeCounted(
  backend: Backend,
  weight: TiledMatrix,
  operands: RemovalOperands,
  counts: Uint32Array,
  q: TiledMatrix,
): Promise<Uint32Array<ArrayBuffer>> {
  const { rows, cols } = weight, words = wordsPerRow(cols);
  const mask = new Uint32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    mask.fill(0xffffffff, r * words, (r + 1) * words);
    if (cols % 32) mask[(r + 1) * words - 1] = 2 ** (cols % 32) - 1;
  }
  for await (const batch of removeInBatches(backend, weight, operands, counts)) {
    scatterRows(backend, batch.weights, q, batch.rows);
    const { depth, trace } = batch;
    for (let r = batch.rows.start; r < batch.rows.end; r++) {
      for (let step = 0; step < depth; step++) {
        const column = trace[2 * ((r - batch.rows.start) * depth + step)] - 1;
        if (column >= 0) mask[r * words + (column >>> 5)] &= ~(1 << (column & 31));
      }
    }
  }
  return mask;
}

async function readWords(backend: Backend, buffer: DeviceBuffer, count: number): Promise<Uint32Array> {
  return new Uint32Array((await backend.read(buffer, 0, 4 * count)).buffer);
}
