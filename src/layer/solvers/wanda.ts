/**
 * Wanda (Sun et al. 2023, arXiv 2306.11695). The score of a weight is |W[i,j]|·√H[j,j], which is its absolute value times the norm of input
 * j. Wanda prunes the weights with the smallest scores in each row of W, or in each group of an n:m pattern. The kept weights are not
 * changed. H is not damped, because the method uses only its diagonal.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { splitRange, type TiledMatrix } from "../../device/tiled_matrix.ts";
import { chooseInGroups } from "../../device/kernels/selection/choose.ts";
import { chooseInRows } from "../../device/kernels/selection/choose_in_rows.ts";
import { prepareDiagonal } from "../linalg/factor.ts";
import { copyRows, readDiagonal } from "../linalg/tile_arithmetic.ts";
import { countBits, type Pattern, prunedPerRow, wordsPerRow } from "../../tensor/pattern.ts";
import { checkStatisticsFit, type Layer, type Solution, type SolveOptions } from "./solver.ts";
import { keepOriginals } from "./magnitude.ts";
import { ForcedBinding } from "./selection.ts";

/**
 * The largest size of a strip, in bytes. A strip is some whole rows of the weight that are copied to one buffer, because the tiles of a
 * wide weight hold only parts of its rows. This size is enough to occupy a GPU.
 */
export const MAX_CHOICE_BYTES = 2 ** 26;

/**
 * Prunes `layer`. `layer.weight` becomes Δ = W − Q. With an unstructured pattern and sparsity s, exactly round(s·rows·cols) weights are
 * pruned, and the numbers of two rows differ by at most one. Forced entries are pruned before all others, and count among the pruned
 * weights. A row with more forced entries than its number prunes them all, and the other rows do not prune less.
 * @param hessian H, (cols, cols) f32 upper storage, undamped, in tiles of the same size as those of the weight. The caller keeps ownership.
 *   The values of H are not changed, but the undefined lower triangles of its diagonal tiles are filled in.
 * @throws {RangeError} if weight and statistics have different tilings or orders
 * @throws {InvalidStatisticsError} if a diagonal entry of H is negative or not finite
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function solveWanda(
  backend: Backend,
  layer: Layer,
  hessian: TiledMatrix,
  options: SolveOptions,
): Promise<Solution> {
  const { weight } = layer, { rows, cols } = weight;
  checkStatisticsFit(weight, hessian);
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  const diagonal = await readDiagonal(backend, hessian);
  prepareDiagonal(diagonal); // throws if an entry is invalid
  const mask = unsolved.add(backend.createBuffer("mask", 4 * rows * wordsPerRow(cols)));
  const scale = scratch.add(createBufferOf(backend, "norms of the inputs", diagonal.map(Math.sqrt)));
  const forced = scratch.add(new ForcedBinding(backend, layer));
  const counts = prunedCounts(rows, cols, options);
  const perRow = scratch.add(createBufferOf(backend, "pruned entries of the rows", counts));
  chooseKept(backend, weight, { scale, forced, counts: perRow, mask }, options.pattern);
  const zeros = forced.hasForced
    ? rows * cols - countBits(new Uint32Array((await backend.read(mask, 0, mask.byteLength)).buffer))
    : counts.reduce((sum, count) => sum + count, 0);
  const solution = await keepOriginals(backend, weight, mask, hessian, options, zeros);
  unsolved.move();
  return solution;
}

/** Returns the number of entries to prune in each row, (rows) u32, if there are no forced entries. */
function prunedCounts(
  rows: number,
  cols: number,
  { sparsity, pattern }: SolveOptions,
): Uint32Array<ArrayBuffer> {
  if (pattern.kind === "n:m") return new Uint32Array(rows).fill(prunedPerRow(pattern, cols));
  const total = Math.round(sparsity * rows * cols);
  const upTo = (row: number) => Math.floor(total * row / rows);
  return Uint32Array.from({ length: rows }, (_, r) => upTo(r + 1) - upTo(r));
}

interface ChoiceBuffers {
  readonly scale: DeviceBuffer; // (cols) f32: √H[j,j]
  readonly forced: ForcedBinding;
  /** (rows) u32: the number of entries to prune in each row, for an unstructured pattern. */
  readonly counts: DeviceBuffer;
  /** Receives the mask, in the layout of `Solution.mask`. */
  readonly mask: DeviceBuffer;
}

/** Queues choosing the kept entries of all rows, one strip of rows at a time. */
function chooseKept(
  backend: Backend,
  weight: TiledMatrix,
  { scale, forced, counts, mask }: ChoiceBuffers,
  pattern: Pattern,
): void {
  const { rows, cols } = weight, stripBytes = Math.min(MAX_CHOICE_BYTES, backend.maxBufferBytes);
  const height = Math.max(1, Math.min(rows, Math.floor(stripBytes / (4 * cols))));
  const x = backend.createBuffer("strip of weights", 4 * height * cols);
  const buffers = { x, scale, forced: forced.bits, mask };
  backend.clear(mask);
  for (const strip of splitRange({ start: 0, end: rows }, height)) {
    copyRows(backend, weight, strip, { buffer: x, offset: 0, ld: cols });
    const shape = { rows: strip.end - strip.start, cols, ld: cols, row0: strip.start };
    const params = { ...shape, words: wordsPerRow(cols), has_forced: forced.hasForced };
    if (pattern.kind === "n:m") {
      const { keep, group } = pattern;
      backend.dispatch(chooseInGroups, buffers, { ...params, first: 0, keep, group });
    } else {
      backend.dispatch(chooseInRows, { ...buffers, counts }, params);
    }
  }
  x.destroy();
}
