/** The operands and parameters of a solve, and which statistics each method uses. H is the Hessian of the layer's inputs, Σ x·xᵀ. */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Factor } from "../linalg/factor.ts";
import type { Method } from "../protocol/parameters.ts";
import type { Effort } from "../solvers/alps.ts";
import type { Layer, SolveOptions } from "../solvers/solver.ts";

/** A layer and the statistics of its inputs. The statistics are a Hessian, a factor of one, both, or absent. */
export interface LayerOperands {
  readonly layer: Layer;
  /** H, (cols, cols) f32, upper storage, undamped. The call may overwrite and free it. */
  readonly hessian?: TiledMatrix;
  /** The factor that an earlier layer with the same inputs made, for methods that use one (`usesFactor`). */
  readonly factor?: Factor;
}

/** The parameters of the solve. The caller has validated them. */
export interface LayerParameters extends SolveOptions {
  readonly method: Method;
  /** Columns per block of the factor. Used only if this call factors. */
  readonly blocksize: number;
  /** The damping λ of the statistics. */
  readonly damping: number;
  /**
   * Conjugate-gradient steps on the mask.
   * @default 0
   */
  readonly refitSteps?: number;
  /**
   * How much work `alps` spends on the mask.
   * @default "default"
   */
  readonly effort?: Effort;
}

/** The parameters that decide which statistics a solve needs. */
type StatisticsParameters = Pick<LayerParameters, "method" | "refitSteps">;

/** Whether the method uses a factor of the statistics, which can be stored for other layers with the same inputs. */
export function usesFactor({ method }: StatisticsParameters): boolean {
  return method === "sparsegpt" || method === "alps";
}

/** Whether the solve uses the Hessian itself, even if a factor of it is given. */
export function usesHessian(parameters: StatisticsParameters): boolean {
  return parameters.method === "alps" || (parameters.refitSteps ?? 0) > 0 || !usesFactor(parameters);
}

/** Whether the layer can be solved without statistics. */
export function needsNoStatistics({ method, refitSteps = 0 }: StatisticsParameters): boolean {
  return method === "magnitude" && refitSteps === 0;
}

/** Checks that the method can use the operands. @throws {TypeError} if it cannot */
export function checkOperands({ hessian, factor }: LayerOperands, parameters: LayerParameters): void {
  const { method } = parameters;
  if (factor && !usesFactor(parameters)) {
    throw new TypeError(`${method}: needs the undamped hessian, and cannot use a factor`);
  }
  if (hessian && factor && !usesHessian(parameters)) {
    throw new TypeError("operands of a layer: give a hessian or its factor, not both");
  }
  if (hessian || needsNoStatistics(parameters)) return;
  if (!factor) throw new TypeError(`${method}: needs a hessian or its factor`);
  if (usesHessian(parameters)) throw new TypeError(`${method}: needs a hessian beside its factor`);
}
