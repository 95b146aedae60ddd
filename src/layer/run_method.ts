/** Runs the method that a request names, and refits the kept weights on the mask if the request says so. */

import type { Backend } from "../backend/backend.ts";
import { ResourceSet } from "../backend/owned.ts";
import { solveAlps } from "../solvers/alps.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import { solveObc } from "../solvers/obc.ts";
import { refit } from "../solvers/refit.ts";
import { scaleStatistics } from "../solvers/scaled_statistics.ts";
import type { Solution } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { solveWanda } from "../solvers/wanda.ts";
import type { LayerOperands, LayerParameters } from "./operands.ts";

/** The result of a method, and what it did. */
export interface MethodResult {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /** The damping λ of the statistics that were used. Null if the method used none, or used them undamped. */
  readonly damping: number | null;
  /** The iterations that searched for the mask. */
  readonly iterations: number;
  /** The conjugate-gradient steps of the result. */
  readonly refitSteps: number;
  /** The seconds of the refit. 0 for `alps`, which refits more than one mask as a part of its solve. */
  readonly refitSeconds: number;
  /** Remarks for the user, as sentences. */
  readonly notes: string[];
}

/**
 * Solves the layer. The operands have everything that the method needs (`usesFactor`, `usesHessian`).
 * @throws the errors of the solvers, of `scaleStatistics` and of `refit`
 */
export async function runMethod(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<MethodResult> {
  const { factor } = operands, { method, refitSteps = 0 } = parameters;
  const notes: string[] = [];
  if (factor && factor.damping > parameters.damping) {
    notes.push(
      `The damping was raised from ${parameters.damping} to ${factor.damping}, because the factorisation failed with less.`,
    );
  }
  if (method === "alps") return await runAlps(backend, operands, parameters, notes);
  const { solution, damping } = await solveOnce(backend, operands, parameters);
  if (refitSteps === 0) return { solution, damping, iterations: 0, refitSteps: 0, refitSeconds: 0, notes };
  return await refitSolution(backend, operands, parameters, solution, notes, clock);
}

/** Runs a method other than `alps`. Returns the damping of its statistics, or null if the method does not damp them. */
async function solveOnce(
  backend: Backend,
  { layer, hessian, factor }: LayerOperands,
  parameters: LayerParameters,
): Promise<{ solution: Solution; damping: number | null }> {
  switch (parameters.method) {
    case "obc": {
      const solution = await solveObc(backend, layer, hessian!, parameters);
      return { solution, damping: solution.damping };
    }
    case "wanda":
      return { solution: await solveWanda(backend, layer, hessian!, parameters), damping: null };
    case "sparsegpt":
    case "alps":
      return {
        solution: await solveSparseGpt(backend, layer, factor!, parameters),
        damping: factor!.damping,
      };
    case "magnitude":
    case "adaprune": // the mask of magnitude, which is refitted afterwards
      return { solution: await solveMagnitude(backend, layer, hessian, parameters), damping: null };
  }
}

async function runAlps(
  backend: Backend,
  { layer, hessian, factor }: LayerOperands,
  parameters: LayerParameters,
  notes: string[],
): Promise<MethodResult> {
  const damping = factor!.damping;
  const statistics = await scaleStatistics(backend, hessian!, damping);
  try {
    const { refitSteps: requestedSteps = 0, effort = "default" } = parameters;
    const options = { ...parameters, refitSteps: requestedSteps, effort };
    const solution = await solveAlps(backend, layer, factor!, statistics, options);
    if (solution.keptSparseGpt) {
      notes.push(
        "The mask of sparsegpt was used, because its error was smaller than that of the mask of alps.",
      );
    }
    const { iterations, refitSteps } = solution;
    return { solution, damping, iterations, refitSteps, refitSeconds: 0, notes };
  } finally {
    statistics.destroy();
  }
}

/** Refits `solution`, and replaces its loss and its relative error. */
async function refitSolution(
  backend: Backend,
  { layer, hessian, factor }: LayerOperands,
  parameters: LayerParameters,
  solution: Solution,
  notes: string[],
  clock: () => number,
): Promise<MethodResult> {
  const startedAt = clock(), damping = factor?.damping ?? parameters.damping;
  const owned = new ResourceSet();
  try {
    const statistics = owned.add(await scaleStatistics(backend, hessian!, damping));
    const { q, mask } = solution, delta = layer.weight;
    const report = await refit(backend, { delta, q, mask }, statistics, parameters.refitSteps!);
    const { loss, lossBefore, steps } = report;
    notes.push(
      steps > 0
        ? `The refit lowered the loss from ${lossBefore} to ${loss}.`
        : `The refit was discarded, because it did not lower the loss of ${lossBefore}.`,
    );
    const relativeError = solution.relativeError === null || !solution.loss
      ? solution.relativeError
      : (solution.relativeError / solution.loss) * loss;
    return {
      solution: { ...solution, loss, relativeError },
      damping,
      iterations: 0,
      refitSteps: steps,
      refitSeconds: (clock() - startedAt) / 1e3,
      notes,
    };
  } catch (error) {
    solution.destroy();
    throw error;
  } finally {
    owned.destroy();
  }
}
