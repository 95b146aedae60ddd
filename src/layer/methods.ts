/** The solver of each method, and the device memory that it needs. `protocol/methods.ts` declares the methods. */

import type { Backend } from "../device/backend.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { Report } from "../protocol/messages.ts";
import { type Effort, type MethodName, METHODS, needsNoStatistics } from "../protocol/methods.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import type { Pattern } from "../tensor/pattern.ts";
import type { QuantizationOptions } from "../tensor/quantization.ts";
import type { Factor } from "./linalg/factor.ts";
import { solveAlps } from "./solvers/alps.ts";
import { solveMagnitude } from "./solvers/magnitude.ts";
import { solveObc } from "./solvers/obc.ts";
import { solveColumns } from "./solvers/obc_columns.ts";
import { MAX_PENDING_COLUMNS } from "./solvers/obc/column_choice.ts";
import { checkObcSize, MAX_OBC_BATCH_BYTES } from "./solvers/obc/weight_removal.ts";
import type { ScaledStatistics } from "./solvers/scaled_statistics.ts";
import type { Layer, Solution, SolveOptions } from "./solvers/solver.ts";
import { solveSparseGpt } from "./solvers/sparsegpt.ts";
import type { ValidationFigures, ValidationGradient, ValidationLoss } from "./solvers/validation_loss.ts";
import { MAX_CHOICE_BYTES, solveWanda } from "./solvers/wanda.ts";

export interface SolveTask {
  readonly backend: Backend;
  /** The layer, with the statistics that the table in `protocol/methods.ts` says. */
  readonly operands: LayerOperands;
  /** The parameters. They have a quantisation only if the solver rounds the weights itself. */
  readonly parameters: DampedParameters;
  /** Returns the scaled statistics, which overwrite the Hessian. */
  scaledStatistics(): Promise<ScaledStatistics>;
  /** Measures results by the validation statistics, if the layer has some. */
  readonly validation?: ValidationLoss;
}

export interface SolvedLayer {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /** The damping λ of the statistics that were used. Null if the method used no statistics, or undamped statistics. */
  readonly damping: number | null;
  /** s, by which the solver itself shrank the statistics towards their diagonal (`linalg/shrink.ts`). */
  readonly shrinkage?: number;
  readonly iterations?: number;
  /** The number of conjugate-gradient steps of the result. Undefined if the solver does not refit. */
  readonly refitSteps?: number;
  readonly notes?: readonly string[];
}

/** The result of a method with its refit and its rounding. */
export interface MethodResult extends Required<SolvedLayer> {
  /** The seconds of the refit. 0 if the refit is a part of the solve. */
  readonly refitSeconds: number;
  /** The figures of the validation statistics. Undefined if the layer has none. */
  readonly validation?: ValidationFigures;
  /** α, the size of the step that was taken, and its effect. Undefined if the layer has no target. */
  readonly target?: { readonly step: number; readonly change: NonNullable<Report["target_change"]> };
}

/** The bytes of the matrices of a solve, and the pattern and the shape from which they follow. */
export interface SolveBytes {
  readonly pattern: Pattern;
  readonly rows: number;
  readonly cols: number;
  readonly weights: number;
  readonly mask: number;
  /** One triangle of the statistics. */
  readonly statistics: number;
  /** A whole matrix of the order of the statistics. */
  readonly square: number;
  /** The solution: the pruned weights, the mask and the grids. */
  readonly solution: number;
  /** A whole pass of SparseGPT, with its solution. */
  readonly pass: number;
  readonly refit: number;
  /** A product with the statistics, which computes an error. */
  readonly form: number;
  /** A factor of the statistics, and the memory in which it is computed. */
  readonly factorScratch: number;
  readonly maxBufferBytes: number;
}

interface MethodSolver {
  solve(task: SolveTask): Promise<SolvedLayer>;
  /** Returns an upper bound for the bytes of the solve, besides the operands. */
  peakBytes(bytes: SolveBytes): number;
  /** Throws if the method cannot solve a layer of (rows, cols). */
  checkShape?(rows: number, cols: number, pattern?: Pattern): void;
}

/** Prunes by magnitude. The loss is computed if there is a Hessian. */
const magnitude: MethodSolver = {
  async solve({ backend, operands: { layer, hessian }, parameters }) {
    return { solution: await solveMagnitude(backend, layer, hessian, parameters), damping: null };
  },
  peakBytes: ({ solution, form }) => solution + form,
};

export const METHOD_SOLVERS: Readonly<Record<MethodName, MethodSolver>> = {
  sparsegpt: {
    async solve({ backend, operands: { layer, factor }, parameters }) {
      const solution = await solveSparseGpt(backend, layer, factor!, parameters);
      return { solution, damping: factor!.damping };
    },
    peakBytes: ({ pass }) => pass,
  },
  magnitude,
  wanda: {
    async solve({ backend, operands: { layer, hessian }, parameters }) {
      return { solution: await solveWanda(backend, layer, hessian!, parameters), damping: null };
    },
    // A strip of the weights exists while the mask is chosen.
    peakBytes: ({ weights, solution, form }) => solution + Math.min(MAX_CHOICE_BYTES, weights) + form,
  },
  adaprune: magnitude, // The parameters of adaprune always ask for a refit.
  obc: {
    async solve({ backend, operands: { layer, hessian }, parameters }) {
      const { pattern } = parameters;
      const solution = pattern.kind === "columns"
        ? await solveColumns(backend, layer, hessian!, {
          ...parameters,
          pattern,
          shrinks: parameters.isDampingChosen,
        })
        : await solveObc(backend, layer, hessian!, parameters);
      return { solution, damping: solution.damping, shrinkage: solution.shrinkage ?? 0 };
    },
    peakBytes: (bytes) => bytes.pattern.kind === "columns" ? columnsBytes(bytes) : removalBytes(bytes),
    checkShape(rows, cols, pattern) {
      if (pattern?.kind !== "columns") checkObcSize(rows, cols);
    },
  },
  alps: {
    async solve({ backend, operands: { layer, factor }, parameters, scaledStatistics, validation }) {
      const { refitSteps: steps = 0, effort = "default" } = parameters;
      const options = { ...parameters, refitSteps: steps, effort, validation };
      const solution = await solveAlps(backend, layer, factor!, await scaledStatistics(), options);
      const { iterations, refitSteps, keptSparseGpt } = solution;
      const notes = keptSparseGpt
        ? ["The mask of sparsegpt was used, because its error was smaller than that of the mask of alps."]
        : [];
      return { solution, damping: factor!.damping, iterations, refitSteps, notes };
    },
    // The phases are: the baseline, its refit, ADMM with the matrices Z, W, G, B and a factor, and the refit of its result.
    peakBytes: ({ pass, solution, refit, weights, mask, factorScratch, form }) =>
      Math.max(
        pass,
        solution + refit,
        solution + 4 * weights + mask + factorScratch + form,
        solution + 2 * weights + mask + refit,
      ),
  },
};

/** The bytes of ExactOBS for a mask of single weights. */
function removalBytes({ solution, square, statistics, form, maxBufferBytes }: SolveBytes): number {
  return solution + square + statistics + 1.5 * Math.min(MAX_OBC_BATCH_BYTES, maxBufferBytes) + form;
}

/**
 * The bytes of ExactOBS for whole columns. The phases are: the inverse of the statistics; the choice of the columns,
 * with the changes of two matrices; and the pass, whose layer and solution exist in two orders.
 */
function columnsBytes(
  { pattern, cols, weights, mask, statistics, square, pass, factorScratch, form }: SolveBytes,
): number {
  const group = pattern.kind === "columns" ? pattern.group : 1;
  return form + Math.max(
    square + statistics + factorScratch,
    2 * square + 4 * cols * (6 * MAX_PENDING_COLUMNS + 8 * group),
    2 * statistics + factorScratch + pass + 2 * weights + 3 * mask,
  );
}

/** A layer and the statistics of its inputs. The statistics are the Hessian, a factor of the Hessian, both, or none. */
export interface LayerOperands {
  readonly layer: Layer;
  /** H, (cols, cols) f32, upper storage, undamped. The call may overwrite and free this matrix. */
  readonly hessian?: TiledMatrix;
  /** T, (rows, cols) f32, with a `targetStep` in the parameters. The call overwrites it, and the caller frees it. */
  readonly target?: TiledMatrix;
  /** A factor of the Hessian from an earlier layer with the same inputs, if the solve uses one (`usesFactor`). */
  readonly factor?: Factor;
  /** The validation statistics, in the form of `hessian`, which choose between results. Read only. */
  readonly validation?: TiledMatrix;
  /** Tv, (rows, cols) f32, with a target and validation statistics. It takes part in their choices. The call overwrites it. */
  readonly validationTarget?: TiledMatrix;
  /** After a step towards the target: the gradient of the validation target, which then takes its place. */
  readonly validationGradient?: ValidationGradient;
  /**
   * H before it was shrunk, in the form of `hessian`, which is then the shrunk one. Read only. With it, and with
   * validation statistics, the loss of the result is measured on H.
   */
  readonly unshrunk?: TiledMatrix;
  /** The factor from losses of the solve to those that are shown, not 1 if the weights are scaled. @default 1 */
  readonly lossUnit?: number;
}

export interface LayerParameters extends SolveOptions {
  readonly method: MethodName;
  /** Columns per block of the factor. Used only if this call factors the Hessian. */
  readonly blocksize: number;
  /** λ, or `auto` if it is chosen, or a shrinkage in its place (`choose_damping.ts`, `solvers/obc_columns.ts`). */
  readonly damping: number | "auto";
  /** The number of conjugate-gradient steps that refit the kept weights on the final mask. @default 0 */
  readonly refitSteps?: number;
  /** How much work a method with an effort spends on the mask. @default "default" */
  readonly effort?: Effort;
  /** How the kept weights are rounded. Undefined if the kept weights are not rounded. */
  readonly quantization?: QuantizationOptions;
  /** The dtype of the answer, to which the result is rounded before its loss is measured. @default "F32" */
  readonly answerDtype?: FloatDtype;
  /**
   * α, the size of the step towards the target before the solve (`target_step.ts`), or `auto` if the validation target
   * chooses it (`choose_target_step.ts`). Undefined if the layer has no target.
   */
  readonly targetStep?: number | "auto";
}

/** The parameters of a layer whose damping is known. */
export interface DampedParameters extends LayerParameters {
  readonly damping: number;
  readonly isDampingChosen?: boolean; // whether the request left it open. Removing columns then chooses a shrinkage
}

type StatisticsParameters = Pick<LayerParameters, "method" | "refitSteps" | "quantization" | "targetStep">;

/** Whether the solve uses a factor of the statistics. */
export function usesFactor({ method, quantization, targetStep }: StatisticsParameters): boolean {
  const { statistics } = METHODS[method];
  return statistics === "factor" || statistics === "both" || quantization !== undefined ||
    targetStep !== undefined;
}

/**
 * Whether the factor can be stored for other layers with the same inputs. A factor in activation order cannot be
 * stored, because it belongs to permuted columns. A factor whose damping was chosen cannot be stored either, because
 * each layer chooses for itself.
 */
export function usesStorableFactor(parameters: LayerParameters): parameters is DampedParameters {
  return usesFactor(parameters) && parameters.quantization?.order !== "activation" &&
    parameters.damping !== "auto";
}

/**
 * Whether validation statistics choose the damping. A mask without damped statistics has no damping to choose, and the
 * removal of columns chooses a shrinkage without validation statistics (`solvers/obc_columns.ts`).
 */
export function choosesDamping(parameters: LayerParameters): boolean {
  const { damping, refitSteps = 0, method, pattern } = parameters;
  return damping === "auto" && pattern.kind !== "columns" &&
    (usesFactor(parameters) || refitSteps > 0 || !METHODS[method].keepsWeights);
}

/**
 * Whether the solve uses the Hessian itself, even if a factor of the Hessian is given. Otherwise the solve is one pass
 * with the factor, which also rounds the weights.
 */
export function usesHessian({ method, refitSteps = 0, targetStep }: StatisticsParameters): boolean {
  return refitSteps > 0 || targetStep !== undefined || METHODS[method].statistics !== "factor";
}

/** Whether the Hessian is needed beside its factor. It measures a result that validation statistics have chosen. */
export function keepsHessian(parameters: StatisticsParameters, hasValidation: boolean): boolean {
  return hasValidation || usesHessian(parameters);
}

/** Whether the layer cannot be solved without statistics. */
export function needsStatistics(
  { method, refitSteps = 0, quantization, targetStep }: StatisticsParameters,
): boolean {
  return targetStep !== undefined ||
    !needsNoStatistics({ method, refit: refitSteps, bits: quantization?.bits });
}
