/**
 * The solver of each method, with the device memory that it needs. `protocol/methods.ts` has the other facts about the methods.
 */

import type { Backend } from "../device/backend.ts";
import type { MethodName } from "../protocol/methods.ts";
import { solveAlps } from "./solvers/alps.ts";
import { solveMagnitude } from "./solvers/magnitude.ts";
import { solveObc } from "./solvers/obc.ts";
import { checkObcSize, MAX_OBC_BATCH_BYTES } from "./solvers/obc/obc_limit.ts";
import type { ScaledStatistics } from "./solvers/scaled_statistics.ts";
import type { Solution } from "./solvers/solver.ts";
import { solveSparseGpt } from "./solvers/sparsegpt.ts";
import { MAX_CHOICE_BYTES, solveWanda } from "./solvers/wanda.ts";
import type { LayerOperands, LayerParameters } from "./operands.ts";

/** A layer to solve. */
export interface SolveTask {
  readonly backend: Backend;
  /** The layer, with the statistics that the table in `protocol/methods.ts` says. */
  readonly operands: LayerOperands;
  /** The parameters. They have a quantisation only if the solver rounds the weights itself. */
  readonly parameters: LayerParameters;
  /** Returns the scaled statistics, which overwrite the Hessian. */
  scaledStatistics(): Promise<ScaledStatistics>;
}

/** The result of a solver. */
export interface SolvedLayer {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /** The damping λ of the statistics that were used. Null if the method used no statistics, or undamped statistics. */
  readonly damping: number | null;
  /** The number of iterations that searched for the mask. */
  readonly iterations?: number;
  /** The number of conjugate-gradient steps of the result. Undefined if the solver does not refit. */
  readonly refitSteps?: number;
  /** Remarks for the user, as sentences. */
  readonly notes?: readonly string[];
}

/** The bytes of the matrices of a solve, and the shape from which they follow. */
export interface SolveBytes {
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
  /** The matrices of a refit. */
  readonly refit: number;
  /** A product with the statistics, which computes an error. */
  readonly form: number;
  /** A factor of the statistics, and the memory in which it is computed. */
  readonly factorScratch: number;
  readonly maxBufferBytes: number;
}

/** The solver of a method, and its demands. */
interface MethodSolver {
  /** Prunes the layer. */
  solve(task: SolveTask): Promise<SolvedLayer>;
  /** Returns an upper bound for the bytes of the solve, besides the operands. */
  peakBytes(bytes: SolveBytes): number;
  /** Throws if the method cannot solve a layer of (rows, cols). */
  checkShape?(rows: number, cols: number): void;
}

/** Prunes by magnitude. The loss is computed if there is a Hessian. */
const magnitude: MethodSolver = {
  async solve({ backend, operands: { layer, hessian }, parameters }) {
    return { solution: await solveMagnitude(backend, layer, hessian, parameters), damping: null };
  },
  peakBytes: choiceBytes,
};

/** The solvers of the methods. */
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
    peakBytes: choiceBytes,
  },
  adaprune: magnitude, // The parameters of adaprune always ask for a refit.
  obc: {
    async solve({ backend, operands: { layer, hessian }, parameters }) {
      const solution = await solveObc(backend, layer, hessian!, parameters);
      return { solution, damping: solution.damping };
    },
    peakBytes: ({ solution, square, statistics, form, maxBufferBytes }) =>
      solution + square + statistics + 1.5 * Math.min(MAX_OBC_BATCH_BYTES, maxBufferBytes) + form,
    checkShape: checkObcSize,
  },
  alps: {
    async solve({ backend, operands: { layer, factor }, parameters, scaledStatistics }) {
      const { refitSteps: steps = 0, effort = "default" } = parameters;
      const options = { ...parameters, refitSteps: steps, effort };
      const solution = await solveAlps(backend, layer, factor!, await scaledStatistics(), options);
      const { iterations, refitSteps, keptSparseGpt } = solution;
      const notes = keptSparseGpt
        ? ["The mask of sparsegpt was used, because its error was smaller than that of the mask of alps."]
        : [];
      return { solution, damping: factor!.damping, iterations, refitSteps, notes };
    },
    // The phases are: the baseline, its refit, ADMM with the matrices Z, W, G, B and a factor, and the refit of the
    // solution of ADMM.
    peakBytes: ({ pass, solution, refit, weights, mask, factorScratch, form }) =>
      Math.max(
        pass,
        solution + refit,
        solution + 4 * weights + mask + factorScratch + form,
        solution + 2 * weights + mask + refit,
      ),
  },
};

/** The bytes of a method that chooses the mask by one score per weight. */
function choiceBytes({ rows, cols, weights, solution, form }: SolveBytes): number {
  const strips = Math.min(MAX_CHOICE_BYTES, weights);
  return solution + Math.max(strips, 8 * rows * Math.min(256, cols) + 4 * 256 * 256) + form;
}
