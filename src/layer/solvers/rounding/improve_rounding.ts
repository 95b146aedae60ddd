/**
 * Improves rounded weights by coordinate descent, as QuantEase (arXiv 2309.01885) does. A sweep visits the columns l from left to right.
 * Each weight of column l moves to the value of its grid that is best while all other weights stay as they are. With the damped statistics
 * A and the current weights Q, this is the value of the grid that is nearest to
 *
 *     t = Q[:, l] + ((W − Q)·A)[:, l]/A[l, l]
 *
 * So earlier columns also compensate for later ones, which they do not in the pass of SparseGPT. The pass of SparseGPT can still compute a
 * sweep, with another factor R and other weights W₀. Let T be the upper triangle of A with its diagonal, D the diagonal of A, and Q the
 * weights before the sweep:
 *
 *     R = T·D^(−½)        W₀ = Q + (W − Q)·A·T⁻¹
 *
 * Let Q' be the weights after the sweep. With the factor R, the pass rounds the following values in column l:
 *
 *     W₀[:, l] + Σ_{j<l} (W₀ − Q')[:, j]·A[j, l]/A[l, l]
 *
 * With the weights W₀, these values are t for the current weights, which have the columns of Q' before l and the columns of Q from l on. The
 * pass computes the grids again, so a sweep improves the grids too.
 */

import type { Backend, DeviceBuffer } from "../../../device/backend.ts";
import { ResourceSet } from "../../../device/owned.ts";
import { splitRange, type TiledMatrix } from "../../../device/tiled_matrix.ts";
import type { QuantizationOptions } from "../../../tensor/quantization.ts";
import type { Factor } from "../../linalg/factor.ts";
import { solveUpper } from "../../linalg/solve_factored.ts";
import {
  addScaled,
  allocateLike,
  copyMatrix,
  copySubmatrix,
  scaleColumns,
  scaleRowsAndColumns,
  submatrixOf,
  tileColumn,
} from "../../linalg/tile_arithmetic.ts";
import { isLowerLoss, ScaledLoss, type ScaledStatistics } from "../scaled_statistics.ts";
import { KEEP_ALL, type Solution } from "../solver.ts";
import { solveSparseGpt } from "../sparsegpt.ts";

/** The largest number of sweeps after a rounding. Later sweeps gain little. */
export const ROUNDING_SWEEPS = 4;

interface ImproveOptions {
  /** The factor of the layer's statistics. Only its block size, its damping and its largest diagonal entry are used. */
  readonly factor: Factor;
  readonly quantization: QuantizationOptions;
  /** The largest number of sweeps. A sweep that does not lower the loss is the last one. */
  readonly sweeps: number;
}

/**
 * Improves the kept weights of `rounded`, and keeps its mask. The function frees `rounded` if it returns another solution or throws.
 * @param delta Δ = W − Q of `rounded`, which becomes Δ of the result
 * @throws the errors of `solveSparseGpt`
 */
export async function improveRounding(
  backend: Backend,
  delta: TiledMatrix,
  rounded: Solution,
  statistics: ScaledStatistics,
  { factor, quantization, sweeps }: ImproveOptions,
): Promise<Solution> {
  using scratch = new ResourceSet(), unsolved = new ResourceSet();
  let best = unsolved.add(rounded);
  const allocate = (label: string) => scratch.add(allocateLike(backend, delta, label));
  const upper = scratch.add(await upperFactor(backend, statistics, factor));
  const weight = allocate("weights of a sweep"), step = allocate("step of a sweep");
  const measure = scratch.add(new ScaledLoss(backend, statistics, delta));
  // Measures a change Δ, and keeps Δ·A·D^(−½) in `step`.
  const measureChange = async (change: TiledMatrix) => {
    const sums = measure.queue(change);
    copyMatrix(backend, measure.product, step);
    return await measure.read(change, sums);
  };
  let least = await measureChange(delta);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    solveUpper(backend, step, upper);
    copyMatrix(backend, best.q, weight);
    addScaled(backend, step, 1, weight, best.mask);
    const natural = { ...quantization, order: "natural" } as const;
    const pass = { ...KEEP_ALL, quantization: natural, fixedMask: best.mask };
    const swept = unsolved.add(await solveSparseGpt(backend, { weight }, upper, pass));
    copyMatrix(backend, delta, weight);
    addScaled(backend, best.q, 1, weight, best.mask);
    addScaled(backend, swept.q, -1, weight, best.mask);
    const measured = await measureChange(weight);
    if (!isLowerLoss(measured, least)) {
      swept.destroy();
      break;
    }
    copyMatrix(backend, weight, delta);
    best.destroy();
    [best, least] = [swept, measured];
  }
  unsolved.move();
  return { ...best, rowErrors: undefined, loss: least.loss, weightForm: rounded.weightForm };
}

/** Returns the factor R = T·D^(−½) of a sweep, which is the upper triangle of Â with its rows multiplied by the scale D^½. */
async function upperFactor(
  backend: Backend,
  { a, scale, inverseScale, dead }: ScaledStatistics,
  factor: Factor,
): Promise<Factor> {
  using allocated = new ResourceSet();
  const r = allocated.add(allocateLike(backend, a, "upper triangle of the statistics"));
  copyMatrix(backend, a, r);
  scaleRowsAndColumns(backend, r, scale);
  scaleColumns(backend, r, inverseScale);
  const u = allocated.add(await invertDiagonalBlocks(backend, r, factor.blocksize));
  const owned = allocated.move(), byteLength = r.byteLength + u.byteLength;
  return {
    ...factor,
    r,
    u,
    diagonal: scale,
    dead,
    order: undefined,
    byteLength,
    destroy: () => owned.destroy(),
  };
}

/**
 * Inverts the upper triangles of the diagonal blocks on the host, in the layout of `Factor.u`. The inverses are small: because A is positive
 * definite, the smallest singular value of its scaled upper triangle is at least ½.
 */
async function invertDiagonalBlocks(
  backend: Backend,
  r: TiledMatrix,
  blocksize: number,
): Promise<DeviceBuffer> {
  const byteLength = 4 * r.cols * blocksize, inverse = new Float32Array(r.cols * blocksize);
  using unfinished = new ResourceSet();
  const buffer = unfinished.add(backend.createBuffer("inverse diagonal blocks", byteLength));
  const blocks = [...splitRange({ start: 0, end: r.cols }, blocksize)];
  for (const { start, end } of blocks) {
    const column = tileColumn(r, { start, end }), block = submatrixOf(r.tile(column, column), start, start);
    const target = { buffer, offset: start * blocksize, ld: blocksize };
    copySubmatrix(backend, block, target, end - start, end - start);
  }
  const values = new Float32Array((await backend.read(buffer, 0, byteLength)).buffer);
  for (const { start, end } of blocks) {
    const range = [start * blocksize, end * blocksize] as const;
    invertUpper(values.subarray(...range), inverse.subarray(...range), end - start, blocksize);
  }
  backend.write(buffer, 0, new Uint8Array(inverse.buffer));
  unfinished.move();
  return buffer;
}

/** Writes the inverse of the upper triangle of R into X. Both are (size, size) with the leading dimension `ld`. */
function invertUpper(r: Float32Array, x: Float32Array, size: number, ld: number): void {
  for (let i = size - 1; i >= 0; i--) {
    const row = new Float64Array(size);
    row[i] = 1;
    for (let k = i + 1; k < size; k++) {
      const factor = r[i * ld + k];
      for (let j = k; j < size; j++) row[j] -= factor * x[k * ld + j];
    }
    for (let j = i; j < size; j++) x[i * ld + j] = row[j] / r[i * ld + i];
  }
}
