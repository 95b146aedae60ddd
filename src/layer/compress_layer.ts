/**
 * Solves one layer whose operands are on the device. It factors or scales the statistics as the method needs,
 * runs the method, refits the kept weights if the parameters say so, and measures the time of each phase.
 * Other files read the operands from a request and write the solution to an answer.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { type Factor, factor as factorStatistics } from "../linalg/factor.ts";
import { copyUpper } from "../linalg/submatrix.ts";
import type { Report } from "../protocol/report.ts";
import type { Solution } from "../solvers/solver.ts";
import { formatPattern } from "../sparsity/pattern.ts";
import {
  checkOperands,
  type LayerOperands,
  type LayerParameters,
  usesFactor,
  usesHessian,
} from "./operands.ts";
import { runMethod } from "./run_method.ts";

/** The report of the solve. The caller knows and adds the phases `read` and `total`. */
export interface LayerReport extends Readonly<Omit<Report, "seconds">> {
  readonly seconds: Readonly<Omit<Report["seconds"], "read" | "total">>;
}

/** A solved layer. */
export interface CompressedLayer {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /** The factor, if this call made one. Other layers with the same inputs can use it. The caller frees it. */
  readonly factor?: Factor;
  readonly report: LayerReport;
}

/** The note of a report whose loss or relative error is null because it overflowed. */
const OVERFLOW_NOTE = "The error of the layer is too large for f32, so it is not reported.";

/**
 * Solves one layer. If it throws, nothing that it allocated stays allocated.
 * @param clock returns milliseconds
 * @throws {TypeError} if the method cannot use the operands
 * @throws the errors of `factor` and `runMethod`
 */
export async function compressLayer(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<CompressedLayer> {
  checkOperands(operands, parameters);
  const startedAt = clock();
  const newFactor = usesFactor(parameters) && !operands.factor
    ? await factorOperands(backend, operands.hessian!, parameters)
    : undefined;
  const factoredAt = clock();
  try {
    const factor = newFactor ?? operands.factor;
    const result = await runMethod(backend, { ...operands, factor }, parameters, clock);
    const { solution } = result, { rows, cols } = operands.layer.weight;
    const solvedSeconds = (clock() - factoredAt) / 1e3;
    const report: LayerReport = {
      method: parameters.method,
      rows,
      cols,
      pattern: formatPattern(parameters.pattern),
      sparsity: solution.zeros / (rows * cols),
      zeros: solution.zeros,
      loss: finiteOrNull(solution.loss),
      relative_error: finiteOrNull(solution.relativeError),
      damping: result.damping,
      iterations: result.iterations,
      refit_steps: result.refitSteps,
      notes: [...result.notes, ...isOverflow(solution) ? [OVERFLOW_NOTE] : []],
      backend: backend.kind,
      adapter: backend.adapter.name,
      seconds: {
        factor: (factoredAt - startedAt) / 1e3,
        solve: solvedSeconds - result.refitSeconds,
        refit: result.refitSeconds,
      },
      factor_reused: operands.factor !== undefined,
    };
    return { solution, factor: newFactor, report };
  } catch (error) {
    newFactor?.destroy();
    throw error;
  }
}

/** Factors the statistics, in a copy if the solve uses the Hessian as well. */
async function factorOperands(
  backend: Backend,
  hessian: TiledMatrix,
  parameters: LayerParameters,
): Promise<Factor> {
  const operand = usesHessian(parameters) ? copyUpper(backend, hessian, hessian.edge) : hessian;
  const { blocksize, damping, quantization } = parameters;
  return await factorStatistics(backend, operand, { blocksize, damping, order: quantization?.order });
}

/** Whether the loss or the relative error of a solution overflowed. */
function isOverflow({ loss, relativeError }: Solution): boolean {
  return finiteOrNull(loss) !== loss || finiteOrNull(relativeError) !== relativeError;
}

function finiteOrNull(value: number | null): number | null {
  return value === null || Number.isFinite(value) ? value : null;
}
