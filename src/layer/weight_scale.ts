/**
 * The scale of a layer. If the weights or the statistics are so large or so small that f32 could not hold the squared
 * error, the weights are multiplied by a power of two for the time of the solve, which changes no bit of their
 * significands.
 */

import type { Backend } from "../device/backend.ts";
import { rowExtremes } from "../device/kernels/quantization.ts";
import { createBufferOf } from "../device/host_memory.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { scaleColumns } from "./linalg/tile_arithmetic.ts";

/** A layer is not scaled if half the binary exponent of its squared error is at most this far from 0, as in real models. */
const COMFORTABLE = 24;
/** The largest exponent of a scale. 2^−120 and 2^120 are both normal numbers in f32. */
const LARGEST_EXPONENT = 120;
/** Below this size of the largest term, the squared error is lost in f32 if the layer cannot be scaled. */
const SMALLEST_TERM = 2 ** -80;

/** Returns the largest magnitude of a weight. @throws {OutOfDeviceMemoryError} {DeviceLostError} */
export async function largestWeight(backend: Backend, weight: TiledMatrix): Promise<number> {
  using owned = new ResourceSet();
  const bytes = 4 * weight.rows;
  const lows = owned.add(backend.createBuffer("smallest weights", bytes));
  const highs = owned.add(backend.createBuffer("largest weights", bytes));
  backend.clear(lows);
  backend.clear(highs);
  for (const { buffer: w, rows, cols, ld, row0 } of weight.tiles()) {
    backend.dispatch(rowExtremes, { w, lows, highs }, { rows, cols, ld, row0 });
  }
  // Both are read at once, because each read waits for the device.
  const both = owned.add(backend.createBuffer("extreme weights", 2 * bytes));
  backend.copy(lows, 0, both, 0, bytes);
  backend.copy(highs, 0, both, bytes, bytes);
  const extremes = new Float32Array((await backend.read(both, 0, 2 * bytes)).buffer);
  return extremes.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

/**
 * Returns the exponent e of the scale: the weights times 2^−e give an error of ordinary size. The result is 0 if the
 * error has an ordinary size anyway.
 * @param weight the largest magnitude of a weight
 * @param statistic the largest diagonal entry of the statistics H
 */
export function scaleExponent(weight: number, statistic: number): number {
  if (!(weight > 0 && statistic > 0)) return 0;
  const exponent = Math.round(Math.log2(weight) + Math.log2(statistic) / 2);
  if (Math.abs(exponent) <= COMFORTABLE) return 0;
  return Math.max(-LARGEST_EXPONENT, Math.min(LARGEST_EXPONENT, exponent));
}

/** Whether the squared error is too small for f32, in the units of a solve with weights times 2^−exponent. */
export function underflows(weight: number, statistic: number, exponent: number): boolean {
  if (!(weight > 0 && statistic > 0)) return false;
  const scaled = weight * 2 ** -exponent;
  return scaled * scaled * statistic < SMALLEST_TERM;
}

/** Queues multiplying all elements of `matrix` by 2^exponent. */
export function scaleByPowerOfTwo(backend: Backend, matrix: TiledMatrix, exponent: number): void {
  const values = new Float32Array(matrix.cols).fill(2 ** exponent);
  const factors = createBufferOf(backend, "scale of the weights", values);
  scaleColumns(backend, matrix, factors);
  factors.destroy();
}
