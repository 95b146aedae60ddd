/**
 * Rounds the weights of a result to the dtype of the answer, and measures the loss of the rounded weights. A solve in f32
 * knows nothing of this rounding, which can be the largest part of the loss.
 */

import type { Backend } from "../device/backend.ts";
import { DTYPE_CODE, fromFloat32, toFloat32 } from "../device/kernels/transfer/convert.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { checkAnswer } from "./check_answer.ts";
import { permuteColumns } from "./linalg/column_order.ts";
import type { Factor } from "./linalg/factor.ts";
import { PanelProduct } from "./linalg/gemm.ts";
import { addFactoredForm, addInnerProduct, RowSums } from "./linalg/quadratic_form.ts";
import { addScaled, allocateLike, copyMatrix } from "./linalg/tile_arithmetic.ts";
import { keepsHessian, type MethodResult, type SolveTask } from "./methods.ts";
import { ScaledLoss, type ScaledStatistics } from "./solvers/scaled_statistics.ts";
import { FormSums, type Solution, undampedForm } from "./solvers/solver.ts";

/**
 * Returns Q, rounded exactly as the answer encodes it. Waits for the device. Q is rounded in place, except if it has grids,
 * because the codes of the answer are computed from Q. It is then a copy, which is added to `owned`.
 * @throws {Refusal} `non_finite` if a weight is not finite in `dtype`. Q is then unchanged
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function roundToDtype(
  backend: Backend,
  { q: exact, quantized }: Solution,
  dtype: FloatDtype,
  owned: ResourceSet,
): Promise<TiledMatrix> {
  await checkAnswer(backend, exact, dtype);
  const q = quantized ? owned.add(allocateLike(backend, exact, "weights in the dtype of the answer")) : exact;
  if (quantized) copyMatrix(backend, exact, q);
  using scratch = new ResourceSet();
  // The encoded form of so many weights takes less memory than a panel of a product.
  const atOnce = Math.max(2 ** 14, 64 * q.rows), code = DTYPE_CODE[dtype];
  const encoded = scratch.add(backend.createBuffer("rounded weights", 2 * atOnce));
  for (const { buffer, rows, ld } of q.tiles()) {
    for (let offset = 0; offset < rows * ld; offset += atOnce) {
      const count = Math.min(atOnce, rows * ld - offset);
      const from = { count, dtype: code, source_offset: offset };
      backend.dispatch(fromFloat32, { source: buffer, target: encoded }, from);
      const to = { count, dtype: code, source_offset: 0, target_offset: offset };
      backend.dispatch(toFloat32, { source: encoded, target: buffer }, to);
    }
  }
  return q;
}

/**
 * Rounds the weights of `result`, and replaces its loss by the loss of the rounded weights, tr(Δ·H·Δᵀ) with Δ = W − Q.
 * @param scaled the scaled statistics, if the Hessian has become them
 * @throws as {@link roundToDtype}
 */
export async function roundToAnswer(
  { backend, operands, parameters, validation }: SolveTask,
  result: MethodResult,
  dtype: FloatDtype,
  scaled: ScaledStatistics | undefined,
): Promise<MethodResult> {
  const { solution } = result, { q, mask } = solution, delta = operands.layer.weight;
  if (validation) copyMatrix(backend, validation.weight, delta);
  else addScaled(backend, q, 1, delta, mask);
  {
    using copies = new ResourceSet();
    addScaled(backend, await roundToDtype(backend, solution, dtype, copies), -1, delta, mask);
  }
  using scratch = new ResourceSet();
  const { unshrunk, hessian, factor } = operands;
  // A factor or the scaled statistics may have taken the memory of the Hessian.
  const isIntact = !scaled && (!factor || keepsHessian(parameters, validation !== undefined));
  const undamped = unshrunk ?? (isIntact ? hessian : undefined);
  let loss: number | null;
  if (undamped) {
    ({ loss } = await scratch.add(new FormSums(backend, delta, undamped)).measureError());
  } else if (scaled) {
    const measure = scratch.add(new ScaledLoss(backend, scaled, delta));
    ({ loss } = await measure.read(delta, measure.queue(delta)));
  } else loss = await factoredLoss(backend, delta, factor!);
  return { ...result, solution: { ...solution, rowErrors: undefined, loss } };
}

/** Computes tr(Δ·H·Δᵀ) by the factor of the damped H. */
async function factoredLoss(backend: Backend, delta: TiledMatrix, factor: Factor): Promise<number | null> {
  using scratch = new ResourceSet();
  const { order, r, blocksize, dampingAdded } = factor;
  const ordered = order ? scratch.add(allocateLike(backend, delta, "change in another order")) : delta;
  if (order) permuteColumns(backend, delta, order.forward, ordered);
  const sums = scratch.add(new RowSums(backend, delta.rows, 2));
  addFactoredForm(scratch.add(new PanelProduct(backend, ordered, r, blocksize)), sums, 0);
  addInnerProduct(ordered, ordered, sums, 1);
  const [dampedForm, squaredNorm] = await sums.totals();
  return undampedForm(dampedForm, dampingAdded, squaredNorm);
}
