/**
 * Refits a pruned layer: optimises its kept weights and leaves its mask unchanged. The refit minimises tr(Δ·A·Δᵀ) over the kept entries of
 * Q. W are the weights before pruning, Q the pruned weights, Δ = W − Q, and A the damped statistics H. Each row is a separate least-squares
 * problem. All rows are solved at once by conjugate gradients with the Jacobi preconditioner. In scaled coordinates
 * (`scaled_statistics.ts`, written with a hat), this is the plain method of conjugate gradients:
 *
 *     R = (Δ̂·Â) ⊙ S;  P = R
 *     repeat: a = ‖R‖²/⟨P, P·Â⟩;  Q̂ += a·P;  R = (R − a·P·Â) ⊙ S;  P = R + (‖R‖²/‖previous R‖²)·P
 *
 * S is the mask, R the residual, P the direction, and ⊙ the elementwise product. The norms, the inner product and a have one value per row.
 * P and R are 0 at pruned entries, so pruned weights stay exactly 0. Ten steps come close to the smallest error that is possible with the
 * mask.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { ResourceSet } from "../../device/owned.ts";
import { cgDirection, cgStep } from "../../device/kernels/conjugate_gradient.ts";
import { addInnerProduct, RowSums } from "../linalg/quadratic_form.ts";
import { symmetricProduct } from "../linalg/gemm.ts";
import {
  addScaled,
  allocateLike,
  combineMasked,
  copyMatrix,
  scaleColumns,
} from "../linalg/tile_arithmetic.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import type { MeasuredWeights, ValidationLoss } from "./validation_loss.ts";
import { isLowerLoss, type MeasuredLoss, ScaledLoss, type ScaledStatistics } from "./scaled_statistics.ts";

/** A pruned layer to refit. All matrices are (rows, cols) f32, in tiles of the same size as those of the statistics. */
export interface PrunedWeights {
  readonly delta: TiledMatrix;
  readonly q: TiledMatrix;
  /** The mask, in the layout of `Solution.mask`. */
  readonly mask: DeviceBuffer;
}

export interface RefitReport {
  readonly before: MeasuredLoss;
  /** The error after the refit. It is never larger, because a refit that raises the error is discarded. */
  readonly after: MeasuredLoss;
  /** The number of conjugate-gradient steps that the result includes. 0 if the refit was discarded. */
  readonly steps: number;
}

/**
 * Refits Q in place with `steps` steps. With 0 steps it only computes the loss.
 * @param validation measures the validation loss, which then decides whether the refit is kept
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} In both cases Q is unchanged
 */
export async function refit(
  backend: Backend,
  { delta, q, mask }: PrunedWeights,
  statistics: ScaledStatistics,
  steps: number,
  validation?: ValidationLoss,
): Promise<RefitReport> {
  using scratch = new ResourceSet();
  const validate = async (weights: MeasuredWeights) => ({
    validationLoss: await validation?.measure(weights),
  });
  const allocate = (label: string) => scratch.add(allocateLike(backend, q, label));
  const measure = scratch.add(new ScaledLoss(backend, statistics, q));
  const sumsBefore = measure.queue(delta);
  if (steps === 0) {
    const loss = { ...await measure.read(delta, sumsBefore), ...await validate({ q, mask }) };
    return { before: loss, after: loss, steps: 0 };
  }
  const { scaledDelta: p, product: ap } = measure;
  const refitted = allocate("refitted weights"), r = allocate("residual");
  copyMatrix(backend, q, refitted);
  scaleColumns(backend, refitted, statistics.scale);
  copyMatrix(backend, ap, r);
  combineMasked(backend, refitted, r, mask, { keptX: 0, keptY: 1, prunedX: 0, prunedY: 0 });
  copyMatrix(backend, r, p);
  const sums = scratch.add(new RowSums(backend, q.rows, 2 * steps));
  runSteps(backend, { p, ap, q: refitted, r, mask, sums, a: statistics.a }, steps);
  scaleColumns(backend, refitted, statistics.inverseScale);

  // Δ + Q − Q' is the new Δ. It is computed in R, which is no longer needed.
  copyMatrix(backend, delta, r);
  addScaled(backend, q, 1, r, mask);
  addScaled(backend, refitted, -1, r, mask);
  const sumsAfter = measure.queue(r);
  const before = { ...await measure.read(delta, sumsBefore), ...await validate({ q, mask }) };
  const after = { ...await measure.read(r, sumsAfter), ...await validate({ q: refitted, mask }) };
  if (!isLowerLoss(after, before)) return { before, after: before, steps: 0 };
  copyMatrix(backend, r, delta);
  copyMatrix(backend, refitted, q);
  return { before, after, steps };
}

/**
 * The state of the conjugate gradients in scaled coordinates, where `q` is Q̂ and `a` is Â. Step i uses column 2i of the sums for ‖R‖² and
 * column 2i + 1 for ⟨P, P·Â⟩.
 */
interface ConjugateGradients {
  readonly p: TiledMatrix;
  readonly ap: TiledMatrix;
  readonly q: TiledMatrix;
  readonly r: TiledMatrix;
  readonly mask: DeviceBuffer;
  readonly sums: RowSums;
  readonly a: TiledMatrix;
}

/** Queues all steps of the conjugate gradients. */
function runSteps(backend: Backend, { p, ap, q, r, mask, sums, a }: ConjugateGradients, steps: number): void {
  const words = wordsPerRow(q.cols), stride = 2 * steps;
  addInnerProduct(r, r, sums, 0);
  for (let step = 0; step < steps; step++) {
    symmetricProduct(backend, p, a, ap);
    addInnerProduct(p, ap, sums, 2 * step + 1);
    for (const { row0, col0: first, rows, cols, ld, i, j } of positions(q)) {
      const buffers = {
        p: p.tile(i, j).buffer,
        ap: ap.tile(i, j).buffer,
        mask,
        sums: sums.buffer,
        q: q.tile(i, j).buffer,
        r: r.tile(i, j).buffer,
      };
      const ratio = { stride, numerator: 2 * step, denominator: 2 * step + 1 };
      backend.dispatch(cgStep, buffers, { rows, cols, ld, row0, first, words, ...ratio });
    }
    if (step === steps - 1) return;
    addInnerProduct(r, r, sums, 2 * step + 2);
    for (const { row0, rows, cols, ld, i, j } of positions(q)) {
      const buffers = { r: r.tile(i, j).buffer, sums: sums.buffer, p: p.tile(i, j).buffer };
      const ratio = { stride, numerator: 2 * step + 2, denominator: 2 * step };
      backend.dispatch(cgDirection, buffers, { rows, cols, ld, row0, ...ratio });
    }
  }
}

function* positions(matrix: TiledMatrix) {
  for (let i = 0; i < matrix.tileRows; i++) {
    for (let j = 0; j < matrix.tileCols; j++) yield { ...matrix.tile(i, j), i, j };
  }
}
