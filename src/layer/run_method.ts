/**
 * Runs the method that a request names. It chooses the mask, and refits the kept weights if the request
 * asks for a refit. Then it rounds the kept weights if the request has `bits`. SparseGPT without a refit chooses the
 * mask and rounds in one pass instead.
 */

import type { Backend } from "../backend/backend.ts";
import { solveAlps } from "../solvers/alps.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import { solveObc } from "../solvers/obc.ts";
import { refit, type RefitReport } from "../solvers/refit.ts";
import { roundSolution } from "../solvers/rounding/round_solution.ts";
import { type ScaledStatistics, scaleStatistics } from "../solvers/scaled_statistics.ts";
import type { Solution } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { solveWanda } from "../solvers/wanda.ts";
import { isOnePass, type LayerOperands, type LayerParameters } from "./operands.ts";

/** The result of a method, and facts about the solve for the report. */
export interface MethodResult {
  /** The pruned layer. The caller frees it. */
  readonly solution: Solution;
  /**
   * The damping λ of the statistics that were used. Null if the method used no statistics, or undamped
   * statistics.
   */
  readonly damping: number | null;
  /** The number of iterations that searched for the mask. */
  readonly iterations: number;
  /** The number of conjugate-gradient steps that the result includes. */
  readonly refitSteps: number;
  /** The seconds of the refit. 0 for `alps`, because its refits are a part of its solve. */
  readonly refitSeconds: number;
  /** Remarks for the user, as sentences. */
  readonly notes: readonly string[];
}

/**
 * Solves the layer. The operands must have the statistics that the method needs (`usesFactor`, `usesHessian`).
 * @throws the errors of the solvers, of `scaleStatistics` and of `refit`
 */
export async function runMethod(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<MethodResult> {
  const { layer, factor } = operands, notes: string[] = [];
  if (factor && factor.damping > parameters.damping) {
    const { damping } = parameters;
    notes.push(
      `The damping was raised from ${damping} to ${factor.damping}, because the factorisation failed with less.`,
    );
  }
  if (isOnePass(parameters)) {
    const solution = await solveSparseGpt(backend, layer, factor!, parameters);
    return { solution, damping: factor!.damping, iterations: 0, refitSteps: 0, refitSeconds: 0, notes };
  }
  using statistics = new LazyStatistics(backend, operands, parameters);
  let result = parameters.method === "alps"
    ? await runAlps(backend, operands, parameters, statistics, notes)
    : await chooseMask(backend, operands, parameters, notes);
  try {
    if (parameters.refitSteps && parameters.method !== "alps") {
      result = await refitResult(backend, operands, parameters, statistics, result, clock);
    }
    return parameters.quantization
      ? await roundResult(backend, operands, parameters, statistics, result)
      : result;
  } catch (error) {
    result.solution.destroy();
    throw error;
  }
}

/**
 * The scaled statistics of a layer. They are computed only when they are first used, because scaling
 * overwrites the Hessian.
 */
class LazyStatistics implements Disposable {
  readonly #backend: Backend;
  readonly #operands: LayerOperands;
  readonly #damping: number;
  #scaled: ScaledStatistics | undefined;

  constructor(backend: Backend, operands: LayerOperands, { damping }: LayerParameters) {
    this.#backend = backend;
    this.#operands = operands;
    this.#damping = operands.factor?.damping ?? damping;
  }

  async scaled(): Promise<ScaledStatistics> {
    return this.#scaled ??= await scaleStatistics(this.#backend, this.#operands.hessian!, this.#damping);
  }

  [Symbol.dispose](): void {
    this.#scaled?.destroy();
  }
}

async function runAlps(
  backend: Backend,
  { layer, factor }: LayerOperands,
  parameters: LayerParameters,
  statistics: LazyStatistics,
  notes: string[],
): Promise<MethodResult> {
  const { refitSteps: steps = 0, effort = "default" } = parameters, scaled = await statistics.scaled();
  const options = { ...parameters, refitSteps: steps, effort };
  const solution = await solveAlps(backend, layer, factor!, scaled, options);
  if (solution.keptSparseGpt) {
    notes.push(
      "The mask of sparsegpt was used, because its error was smaller than that of the mask of alps.",
    );
  }
  const { iterations, refitSteps } = solution;
  return { solution, damping: factor!.damping, iterations, refitSteps, refitSeconds: 0, notes };
}

/** Runs a method other than `alps`, without a refit and without rounding. */
async function chooseMask(
  backend: Backend,
  { layer, hessian, factor }: LayerOperands,
  parameters: LayerParameters,
  notes: string[],
): Promise<MethodResult> {
  const done = (solution: Solution, damping: number | null) => (
    { solution, damping, iterations: 0, refitSteps: 0, refitSeconds: 0, notes }
  );
  switch (parameters.method) {
    case "obc": {
      const solution = await solveObc(backend, layer, hessian!, parameters);
      return done(solution, solution.damping);
    }
    case "wanda":
      return done(await solveWanda(backend, layer, hessian!, parameters), null);
    case "magnitude":
    case "adaprune": // the mask of magnitude, which is refitted afterwards
      return done(await solveMagnitude(backend, layer, hessian, parameters), null);
    default: {
      const options = { ...parameters, quantization: undefined };
      return done(await solveSparseGpt(backend, layer, factor!, options), factor!.damping);
    }
  }
}

/** Refits the solution, and replaces its loss. */
async function refitResult(
  backend: Backend,
  { layer, factor, lossUnit = 1 }: LayerOperands,
  parameters: LayerParameters,
  statistics: LazyStatistics,
  result: MethodResult,
  clock: () => number,
): Promise<MethodResult> {
  const startedAt = clock(), { solution } = result, { q, mask } = solution;
  const weights = { delta: layer.weight, q, mask };
  const report = await refit(backend, weights, await statistics.scaled(), parameters.refitSteps!);
  return {
    ...result,
    solution: { ...solution, loss: report.after.loss },
    damping: factor?.damping ?? parameters.damping,
    refitSteps: report.steps,
    refitSeconds: (clock() - startedAt) / 1e3,
    notes: [...result.notes, refitNote(report, lossUnit)],
  };
}

/** Describes the effect of a refit by the losses that decided whether it is kept (`isLowerLoss`). */
function refitNote({ before, after, steps }: RefitReport, lossUnit: number): string {
  const isExact = before.loss !== null && after.loss !== null;
  const name = isExact ? "loss" : "damped loss";
  const [from, to] = [before, after].map(({ loss, dampedLoss }) => (isExact ? loss! : dampedLoss) * lossUnit);
  return steps > 0
    ? `The refit lowered the ${name} from ${from} to ${to}.`
    : `The refit was discarded, because it did not lower the ${name} of ${from}.`;
}

/** Rounds the kept weights of the solution. */
async function roundResult(
  backend: Backend,
  { layer, factor }: LayerOperands,
  { quantization, refitSteps = 0 }: LayerParameters,
  statistics: LazyStatistics,
  result: MethodResult,
): Promise<MethodResult> {
  const { solution } = result, { loss } = solution;
  // The search costs less than a refit. Methods that skip the refit are chosen because they are cheap.
  const options = { quantization: quantization!, searchRanges: refitSteps > 0 };
  const scaled = await statistics.scaled();
  const rounded = await roundSolution(backend, layer, solution, factor!, scaled, options);
  const notes = loss === null || rounded.loss === null
    ? result.notes
    : [...result.notes, `Rounding raised the loss from ${loss} to ${rounded.loss}.`];
  return { ...result, solution: rounded, damping: factor!.damping, notes };
}
