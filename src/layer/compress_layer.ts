/**
 * Solves one layer whose operands are on the device. It factors the statistics unless a factor is given, runs
 * the pruning method, and measures the time of each phase. Other files read the operands from a request and
 * write the solution to an answer.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { type Factor, factor as factorStatistics } from "../linalg/factor.ts";
import type { SupportedMethod } from "../protocol/parameters.ts";
import type { Report } from "../protocol/report.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import type { Layer, Solution, SolveOptions } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { formatPattern } from "../sparsity/pattern.ts";

/**
 * A layer and the statistics of its calibration inputs. The statistics are a Hessian, the factor of a
 * Hessian, or absent.
 */
export interface LayerOperands {
  readonly layer: Layer;
  /**
   * H, (cols, cols) f32, upper storage, undamped. The method `sparsegpt` overwrites H with its factor. The
   * method `magnitude` keeps the values of H.
   */
  readonly hessian?: TiledMatrix;
  /** The factor that was computed for an earlier layer with the same inputs. Only `sparsegpt` can use it. */
  readonly factor?: Factor;
}

/** The parameters of the solve. The caller has validated them. */
export interface LayerParameters extends SolveOptions {
  readonly method: SupportedMethod;
  /** The number of columns per block of the factor. Used only if this call computes the factor. */
  readonly blocksize: number;
  /** The damping λ of the factor. Used only if this call computes the factor. */
  readonly damping: number;
}

/** The report of the solve. Only the caller knows the times `read` and `total`, and adds them. */
export interface LayerReport extends Readonly<Omit<Report, "seconds">> {
  readonly seconds: Readonly<Omit<Report["seconds"], "read" | "total">>;
}

/** A solved layer. */
export interface CompressedLayer {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /**
   * The factor, if this call computed one. Other layers with the same inputs can use it. The caller frees it.
   */
  readonly factor?: Factor;
  readonly report: LayerReport;
}

/**
 * Solves one layer. If it throws, nothing that it allocated stays allocated.
 * @param clock returns the time in milliseconds
 * @throws {TypeError} if the method cannot use the operands
 * @throws the errors of `factor` and of the solvers
 */
export async function compressLayer(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<CompressedLayer> {
  const { layer, hessian } = operands;
  checkOperands(operands, parameters);
  const startedAt = clock();
  const newFactor = parameters.method === "sparsegpt" && hessian
    ? await factorStatistics(backend, hessian, parameters)
    : undefined;
  const factoredAt = clock();
  try {
    const factor = newFactor ?? operands.factor;
    const solution = factor
      ? await solveSparseGpt(backend, layer, factor, parameters)
      : await solveMagnitude(backend, layer, hessian, parameters);
    const { rows, cols } = layer.weight;
    const report: LayerReport = {
      method: parameters.method,
      rows,
      cols,
      pattern: formatPattern(parameters.pattern),
      sparsity: solution.zeros / (rows * cols),
      zeros: solution.zeros,
      loss: solution.loss,
      relative_error: solution.relativeError,
      damping: factor?.damping ?? null,
      backend: backend.kind,
      adapter: backend.adapter.name,
      seconds: { factor: (factoredAt - startedAt) / 1e3, solve: (clock() - factoredAt) / 1e3, refit: 0 },
      factor_reused: operands.factor !== undefined,
    };
    return { solution, factor: newFactor, report };
  } catch (error) {
    newFactor?.destroy();
    throw error;
  }
}

function checkOperands({ hessian, factor }: LayerOperands, { method }: LayerParameters): void {
  if (hessian && factor) throw new TypeError("operands of a layer: give a hessian or its factor, not both");
  if (method === "sparsegpt" && !hessian && !factor) {
    throw new TypeError("sparsegpt: needs a hessian or its factor");
  }
  if (method === "magnitude" && factor) {
    throw new TypeError("magnitude: needs the undamped hessian, and cannot use a factor");
  }
}
