/** Copies every k-th row of a layer, so that parameters that hardly depend on the row can be tried at a fraction of the cost. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { copySubmatrix, submatrixOf } from "../linalg/tile_arithmetic.ts";
import { ColumnCounts } from "../sinks/mask_sink.ts";
import type { ForcedEntries, Layer } from "../solvers/solver.ts";

/** The largest distance k of two sampled rows, and the number of rows below which a layer is not sampled more thinly. */
const LARGEST_STEP = 8, FEWEST_ROWS = 64;

/** A layer with some of the rows of another. */
export interface SampledLayer extends Layer {
  /** Frees the layer. */
  destroy(): void;
}

/** Returns the distance k of the rows of a sample. */
function stepOf(rows: number): number {
  return Math.max(1, Math.min(LARGEST_STEP, Math.floor(rows / FEWEST_ROWS)));
}

/** Returns the number of rows of a sample of a layer with `rows` rows: an eighth of them, but at least 64, or all if there are fewer. */
export function sampledRows(rows: number): number {
  return Math.ceil(rows / stepOf(rows));
}

/** Whether row `row` of a layer with `rows` rows is in its sample. */
export function isSampled(row: number, rows: number): boolean {
  return row % stepOf(rows) === 0;
}

/**
 * Copies the rows 0, k, 2k, … of a layer, with its forced entries.
 * @returns the copy, in tiles of the same edge. The caller frees it
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function sampleRows(backend: Backend, { weight, forced }: Layer): Promise<SampledLayer> {
  using unfinished = new ResourceSet();
  const sample = unfinished.add(sampleMatrix(backend, weight));
  const bits = forced && unfinished.add(sampleBits(backend, forced.bits, weight));
  const sampledForced = bits && await countForced(backend, bits, weight.cols), owned = unfinished.move();
  return { weight: sample, forced: sampledForced, destroy: () => owned.destroy() };
}

/**
 * Queues copying the rows 0, k, 2k, … of a matrix of (rows, cols).
 * @returns the copy, in tiles of the same edge. The caller frees it
 * @throws {OutOfDeviceMemoryError}
 */
export function sampleMatrix(backend: Backend, matrix: TiledMatrix): TiledMatrix {
  const { cols, edge } = matrix, rows = sampledRows(matrix.rows);
  const sample = new TiledMatrix(backend, { label: "sampled rows", rows, cols, edge });
  copyEveryRow(backend, matrix, stepOf(matrix.rows), sample);
  return sample;
}

/** Queues copying row `step`·i of `source` to row i of `target`. */
function copyEveryRow(backend: Backend, source: TiledMatrix, step: number, target: TiledMatrix): void {
  for (const to of target.tiles()) {
    for (const from of source.tiles()) {
      const first = Math.max(to.row0, Math.ceil(from.row0 / step));
      const end = Math.min(to.row0 + to.rows, Math.ceil((from.row0 + from.rows) / step));
      if (from.col0 !== to.col0 || end <= first) continue;
      const part = submatrixOf(from, step * first, from.col0);
      const rows = { ...part, ld: step * part.ld };
      copySubmatrix(backend, rows, submatrixOf(to, first, to.col0), end - first, to.cols);
    }
  }
}

/**
 * Queues copying the sampled rows of `bits`, which has one bit for each entry of `weight`, in the layout of `Solution.mask`. The caller frees
 * the copy.
 */
export function sampleBits(
  backend: Backend,
  bits: DeviceBuffer,
  { rows, cols }: Pick<TiledMatrix, "rows" | "cols">,
): DeviceBuffer {
  const rowBytes = 4 * wordsPerRow(cols), step = stepOf(rows), count = sampledRows(rows);
  const copy = backend.createBuffer("bits of sampled rows", count * rowBytes);
  for (let row = 0; row < count; row++) {
    backend.copy(bits, step * row * rowBytes, copy, row * rowBytes, rowBytes);
  }
  return copy;
}

async function countForced(backend: Backend, bits: DeviceBuffer, cols: number): Promise<ForcedEntries> {
  const words = new Uint32Array((await backend.read(bits, 0, bits.byteLength)).buffer);
  const counts = new ColumnCounts(cols), length = wordsPerRow(cols);
  for (let start = 0; start < words.length; start += length) {
    counts.add(words.subarray(start, start + length));
  }
  return { bits, perColumn: counts.counts() };
}
