/**
 * Solves one layer whose operands are on the device: chooses the damping and factors the statistics, scales the
 * weights, runs the method, and reports the errors and the time of each phase. Other files read the operands from a
 * request and write the solution to an answer.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import { DEFAULT_DAMPING } from "../protocol/limits.ts";
import type { Report } from "../protocol/messages.ts";
import { formatPattern } from "../tensor/pattern.ts";
import { copyTiled, largestMagnitude, readDiagonal, scaleBy } from "./linalg/tile_arithmetic.ts";
import { type Factor, factor as factorStatistics } from "./linalg/factor.ts";
import { copyShrunk } from "./linalg/shrink.ts";
import {
  choosesDamping,
  keepsHessian,
  type LayerOperands,
  type LayerParameters,
  type MethodResult,
  usesFactor,
} from "./methods.ts";
import { runMethod } from "./run_method.ts";
import { solveTowardsTarget } from "./solve_towards_target.ts";
import { relativeError as errorRatio, scaleExponent, type Solution, underflows } from "./solvers/solver.ts";
import { chooseDamping } from "./validation/choose_damping.ts";

/** The report of the solve. The caller knows and adds the phases `read` and `total`. */
export interface LayerReport extends Readonly<Omit<Report, "seconds">> {
  readonly seconds: Readonly<Omit<Report["seconds"], "read" | "total">>;
}

export interface CompressedLayer {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /** The factor, if this call made one. Other layers with the same inputs can use it. The caller frees it. */
  readonly factor?: Factor;
  readonly report: LayerReport;
  /**
   * Whether the pruned weights may not be finite in f32. A weight that is not finite makes the loss infinite or NaN, so
   * a solve with a finite loss and without a scale has finite weights.
   */
  readonly mayOverflow: boolean;
}

/** The notes of a report in which the loss or the relative error is null. */
const OVERFLOW_NOTE = "The error of the layer is too large for f32, so it is not reported.";
const UNDERFLOW_NOTE = "The error of the layer is too small for f32, so it is not reported.";
const ZERO_NOTE =
  "The relative error is not reported, because its denominator tr(W·H·Wᵀ) is 0 in f32 and the loss is not.";
/** The notes of a report whose figures are small differences of large sums. */
const LOST_NOTE =
  "The loss and the relative error are not reported, because they are so small beside the damping or the sums " +
  "from which they are computed that the rounding of f32 would decide them.";
const LOST_DENOMINATOR_NOTE =
  "The relative error is not reported, because its denominator tr(W·H·Wᵀ) is so small beside the damping that " +
  "the rounding of f32 would decide it.";

/** The note of a layer with shrunk statistics whose other notes state losses. */
const SHRUNK_NOTE = "The other notes state losses on the shrunk statistics.";

/**
 * Solves one layer. If it throws, nothing that it allocated stays allocated.
 * @param operands the operands that the parameters need (`requireTensors`)
 * @param clock returns milliseconds
 * @throws the errors of `factor`, `chooseDamping`, `solveTowardsTarget` and `runMethod`
 */
export async function compressLayer(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<CompressedLayer> {
  const startedAt = clock(), { layer: { weight }, target } = operands;
  // The weights are measured while the device factors the statistics.
  const [made, measured] = await Promise.allSettled([
    dampStatistics(backend, operands, parameters),
    measureSize(backend, operands, usesFactor(parameters)),
  ]);
  if (made.status === "rejected") throw made.reason;
  const { factor: newFactor, damping, shrinkage } = made.value;
  using shrunk = new ResourceSet(), unfinished = new ResourceSet();
  if (newFactor) unfinished.add(newFactor);
  if (measured.status === "rejected") throw measured.reason;
  const factoredAt = clock();
  const factor = newFactor ?? operands.factor;
  const size = { ...measured.value, ...factor && { statistic: factor.largestDiagonal } };
  // The grids of rounded weights are not homogeneous: they have a smallest scale.
  const exponent = parameters.quantization ? 0 : scaleExponent(size.weight, size.statistic);
  if (exponent !== 0) {
    for (const matrix of [weight, target, operands.validationTarget]) {
      if (matrix) scaleBy(backend, matrix, 2 ** -exponent);
    }
  }
  const lossUnit = 4 ** exponent, scaled = { ...operands, factor, lossUnit };
  const damped = {
    ...parameters,
    damping,
    isDampingChosen: parameters.damping === "auto",
    // The scale would change which weights are subnormal in the dtype.
    answerDtype: exponent === 0 ? parameters.answerDtype : undefined,
  };
  // The step towards a target is computed with the statistics before they are shrunk.
  const isShrunk = shrinkage > 0 && !target;
  const solvable = isShrunk
    ? {
      ...scaled,
      hessian: shrunk.add(await copyShrunk(backend, operands.hessian!, shrinkage)),
      unshrunk: operands.hessian,
    }
    : scaled;
  const result = target
    ? await solveTowardsTarget(backend, { ...scaled, target }, { ...damped, shrinkage }, clock)
    : await runMethod(backend, solvable, damped, clock);
  const { solution, notes } = result, { rows, cols } = weight;
  const reportedShrinkage = shrinkage || result.shrinkage;
  if (exponent !== 0) scaleBy(backend, solution.q, 2 ** exponent);
  const hasStatistics = factor !== undefined || operands.hessian !== undefined;
  const figures = hasStatistics
    ? reportError(solution, parameters, lossUnit, underflows(size.weight, size.statistic, exponent))
    : { loss: null, relativeError: null };
  const solvedSeconds = (clock() - factoredAt) / 1e3;
  const report: LayerReport = {
    method: parameters.method,
    rows,
    cols,
    pattern: formatPattern(parameters.pattern),
    sparsity: solution.zeros / (rows * cols),
    zeros: solution.zeros,
    loss: figures.loss,
    relative_error: figures.relativeError,
    damping: result.damping,
    ...reportedShrinkage > 0 && { shrinkage: reportedShrinkage },
    iterations: result.iterations,
    refit_steps: result.refitSteps,
    ...result.target && { target_step: result.target.step, target_change: result.target.change },
    notes: [
      ...notes,
      ...isShrunk && notes.length > 0 ? [SHRUNK_NOTE] : [],
      ...figures.note ? [figures.note] : [],
    ],
    ...reportValidation(result.validation, parameters, lossUnit, size.weight, exponent),
    backend: backend.kind,
    adapter: backend.adapter.name,
    seconds: {
      factor: (factoredAt - startedAt) / 1e3,
      solve: solvedSeconds - result.refitSeconds,
      refit: result.refitSeconds,
    },
    factor_reused: operands.factor !== undefined,
  };
  const mayOverflow = exponent !== 0 || solution.loss === null || !Number.isFinite(solution.loss);
  unfinished.move();
  return { solution, factor: newFactor, report, mayOverflow };
}

/**
 * Chooses the damping if the parameters leave it open, and makes the factor that the solve uses, unless the operands
 * have it.
 * @returns the factor, which the caller frees, the damping λ of the solve, and its shrinkage s (`linalg/shrink.ts`)
 */
async function dampStatistics(
  backend: Backend,
  { layer, hessian, validation, factor: given }: LayerOperands,
  parameters: LayerParameters,
): Promise<{ readonly factor?: Factor; readonly damping: number; readonly shrinkage: number }> {
  const isUsed = usesFactor(parameters);
  if (choosesDamping(parameters)) {
    const trial = { layer, hessian: hessian!, validation: validation! };
    const { factor, shrinkage } = await chooseDamping(backend, trial, parameters);
    if (!isUsed) factor.destroy();
    return { factor: isUsed ? factor : undefined, damping: factor.damping, shrinkage };
  }
  // A method without damped statistics has no damping to choose, and ignores this one.
  const damping = parameters.damping === "auto" ? DEFAULT_DAMPING : parameters.damping;
  if (!isUsed || given) return { damping, shrinkage: 0 };
  const isKept = keepsHessian(parameters, validation !== undefined);
  const operand = isKept ? copyTiled(backend, hessian!, hessian!.edge) : hessian!;
  const { blocksize, quantization } = parameters;
  const factor = await factorStatistics(backend, operand, { blocksize, damping, order: quantization?.order });
  return { factor, damping, shrinkage: 0 };
}

/**
 * Measures the operands: the largest magnitude of a weight, and the largest diagonal entry of the statistics, which is
 * 0 if there are none. Waits for the device.
 * @param isFactored whether a factor of the statistics has the diagonal entry, which is then not measured
 */
async function measureSize(
  backend: Backend,
  { layer, hessian, factor }: LayerOperands,
  isFactored: boolean,
): Promise<{ readonly weight: number; readonly statistic: number }> {
  if (!hessian && !factor) return { weight: 0, statistic: 0 };
  const readsDiagonal = hessian && !factor && !isFactored;
  const [weight, diagonal] = await Promise.all([
    largestMagnitude(backend, layer.weight),
    readsDiagonal ? readDiagonal(backend, hessian) : undefined,
  ]);
  return { weight, statistic: diagonal?.reduce((a, b) => Math.max(a, b), 0) ?? 0 };
}

/**
 * Returns the loss and the relative error for the report, or null with a note where f32 cannot hold them.
 * @param lossUnit the factor by which the losses of the solve are multiplied
 */
function reportError(
  solution: Solution,
  options: LayerParameters,
  lossUnit: number,
  isUnderflow: boolean,
): { readonly loss: number | null; readonly relativeError: number | null; readonly note?: string } {
  const { loss, weightForm } = solution, relativeError = errorRatio(solution);
  if (isUnderflow) return { loss: null, relativeError: null, note: UNDERFLOW_NOTE };
  if (loss === null) return { loss: null, relativeError: null, note: LOST_NOTE };
  if (!Number.isFinite(loss)) return { loss: null, relativeError: null, note: OVERFLOW_NOTE };
  const inUnits = loss * lossUnit, rounded = Math.fround(inUnits);
  const isHeld = Number.isFinite(rounded) && (rounded !== 0 || loss === 0);
  const lossNote = isHeld
    ? []
    : [`The loss is not reported, because f32 cannot hold ${inUnits.toPrecision(7)}.`];
  const isReported = !options.relativeError || (relativeError !== null && Number.isFinite(relativeError));
  const errorNote = isReported
    ? []
    : [weightForm === null ? LOST_DENOMINATOR_NOTE : weightForm === 0 ? ZERO_NOTE : OVERFLOW_NOTE];
  return {
    loss: isHeld ? inUnits : null,
    relativeError: isReported ? relativeError : null,
    note: [...lossNote, ...errorNote].join(" "),
  };
}

/**
 * Returns the fields of the report about validation. There are none without validation statistics.
 * @param lossUnit as in `reportError`
 * @param exponent the exponent of the scale of the weights during the solve
 */
function reportValidation(
  validation: MethodResult["validation"],
  { relativeError }: LayerParameters,
  lossUnit: number,
  largestWeight: number,
  exponent: number,
): Pick<Report, "validation_loss" | "validation_error" | "validation_choice" | "nearest_rows"> {
  if (!validation) return {};
  const { loss, weightForm, choice, nearestRows, largestDiagonal } = validation;
  const error = relativeError ? errorRatio({ loss, weightForm }) : null;
  const isUnderflow = underflows(largestWeight, largestDiagonal, exponent);
  const held = (value: number | null) =>
    value !== null && Number.isFinite(value) && !isUnderflow ? value : null;
  return {
    validation_loss: held(loss * lossUnit),
    validation_error: held(error),
    validation_choice: choice,
    nearest_rows: nearestRows,
  };
}
