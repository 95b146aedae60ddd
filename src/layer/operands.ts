/**
 * Defines the operands and parameters of a solve, and says which statistics a solve uses. H is the
 * Hessian of the layer's inputs, Σ x·xᵀ.
 */

import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { Factor } from "./linalg/factor.ts";
import { type Effort, type MethodName, METHODS, needsNoStatistics } from "../protocol/methods.ts";
import type { QuantizationOptions } from "../tensor/quantization.ts";
import type { Layer, SolveOptions } from "./solvers/solver.ts";

/**
 * A layer and the statistics of its inputs. The statistics are the Hessian, a factor of the Hessian, both, or none.
 */
export interface LayerOperands {
  readonly layer: Layer;
  /** H, (cols, cols) f32, upper storage, undamped. The call may overwrite and free this matrix. */
  readonly hessian?: TiledMatrix;
  /**
   * A factor of the Hessian from an earlier layer with the same inputs, for methods that use a factor
   * (`usesFactor`).
   */
  readonly factor?: Factor;
  /**
   * The factor by which the losses of the solve are multiplied before they are shown. It is not 1 if the weights are scaled.
   * @default 1
   */
  readonly lossUnit?: number;
}

/** The parameters of the solve. The caller has validated them. */
export interface LayerParameters extends SolveOptions {
  readonly method: MethodName;
  /** Columns per block of the factor. Used only if this call factors the Hessian. */
  readonly blocksize: number;
  /** The damping λ of the statistics. */
  readonly damping: number;
  /**
   * The number of conjugate-gradient steps that refit the kept weights on the final mask.
   * @default 0
   */
  readonly refitSteps?: number;
  /**
   * How much work a method with an effort spends on the mask.
   * @default "default"
   */
  readonly effort?: Effort;
  /** How the kept weights are rounded. Undefined if the kept weights are not rounded. */
  readonly quantization?: QuantizationOptions;
}

/** The parameters that decide which statistics a solve needs. */
type StatisticsParameters = Pick<LayerParameters, "method" | "refitSteps" | "quantization">;

/** Whether the solve uses a factor of the statistics. */
export function usesFactor({ method, quantization }: StatisticsParameters): boolean {
  const { statistics } = METHODS[method];
  return statistics === "factor" || statistics === "both" || quantization !== undefined;
}

/**
 * Whether the factor can be stored for other layers with the same inputs. A factor in activation order cannot be
 * stored, because it belongs to permuted columns.
 */
export function usesStorableFactor(parameters: StatisticsParameters): boolean {
  return usesFactor(parameters) && parameters.quantization?.order !== "activation";
}

/**
 * Whether the solve uses the Hessian itself, even if a factor of the Hessian is given. Otherwise the solve is one pass with
 * the factor, which also rounds the weights.
 */
export function usesHessian({ method, refitSteps = 0 }: StatisticsParameters): boolean {
  return refitSteps > 0 || METHODS[method].statistics !== "factor";
}

/** Whether the layer cannot be solved without statistics. */
export function needsStatistics({ method, refitSteps = 0, quantization }: StatisticsParameters): boolean {
  return !needsNoStatistics({ method, refit: refitSteps, bits: quantization?.bits });
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
  if (hessian || !needsStatistics(parameters)) return;
  if (!factor) throw new TypeError(`${method}: needs a hessian or its factor`);
  if (usesHessian(parameters)) throw new TypeError(`${method}: needs a hessian beside its factor`);
}
