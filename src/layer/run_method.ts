/**
 * Runs the method that a request names. It chooses the mask, and refits the kept weights if the request asks for a
 * refit. Then it rounds the kept weights if the request has `bits`. A solve that does not use the Hessian
 * (`usesHessian`) chooses the mask and rounds in one pass instead.
 */

import type { Backend } from "../device/backend.ts";
import { improvesRounding } from "../protocol/methods.ts";
import { roundToAnswer } from "./round_answer.ts";
import { chooseResult } from "./validation/choose_result.ts";
import { refit, type RefitReport } from "./solvers/refit.ts";
import { ROUNDING_SWEEPS } from "./solvers/rounding/improve_rounding.ts";
import { roundSolution } from "./solvers/rounding/round_solution.ts";
import { type ScaledStatistics, scaleStatistics } from "./solvers/scaled_statistics.ts";
import { ValidationLoss } from "./solvers/validation_loss.ts";
import {
  type DampedParameters,
  type LayerOperands,
  METHOD_SOLVERS,
  type MethodResult,
  type SolveTask,
  usesHessian,
} from "./methods.ts";

/**
 * Solves the layer. The operands must have the statistics that the method needs (`usesFactor`, `usesHessian`).
 * @throws the errors of the solvers, of `scaleStatistics` and of `refit`
 */
export async function runMethod(
  backend: Backend,
  operands: LayerOperands,
  parameters: DampedParameters,
  clock: () => number,
): Promise<MethodResult> {
  const { hessian, factor } = operands;
  const { damping, refitSteps, quantization, answerDtype = "F32" } = parameters;
  const notes = factor && factor.damping > damping
    ? [
      `The damping was raised from ${damping} to ${factor.damping}, because the factorisation failed with less.`,
    ]
    : [];
  using scratch = new DisposableStack();
  const validation = operands.validation && scratch.adopt(
    await ValidationLoss.open(
      backend,
      operands.layer.weight,
      operands.validation,
      operands.validationGradient,
    ),
    (loss) => loss.destroy(),
  );
  let scaled: ScaledStatistics | undefined;
  // Scaling overwrites the Hessian, so it waits until the scaled statistics are first used.
  const scaledStatistics = async () =>
    scaled ??= scratch.adopt(
      await scaleStatistics(backend, hessian!, factor?.damping ?? damping),
      (statistics) => statistics.destroy(),
    );
  const onePass = !usesHessian(parameters);
  const solver = METHOD_SOLVERS[parameters.method],
    task: SolveTask = { backend, operands, parameters, scaledStatistics, validation };
  const solved = await solver.solve(
    onePass ? task : { ...task, parameters: { ...parameters, quantization: undefined } },
  );
  notes.push(...solved.notes ?? []);
  let result: MethodResult = {
    iterations: 0,
    refitSteps: 0,
    shrinkage: 0,
    ...solved,
    refitSeconds: 0,
    notes,
  };
  try {
    if (!onePass && refitSteps && solved.refitSteps === undefined) {
      result = await refitResult(task, result, clock);
    }
    if (!onePass && quantization) result = await roundResult(task, result);
    if (validation) result = await chooseResult(task, validation, result);
    if (answerDtype === "F32" || !hessian && !factor) return result;
    return await roundToAnswer(task, result, answerDtype, scaled);
  } catch (error) {
    result.solution.destroy();
    throw error;
  }
}

async function refitResult(
  { backend, operands: { layer, factor, lossUnit = 1 }, parameters, scaledStatistics, validation }: SolveTask,
  result: MethodResult,
  clock: () => number,
): Promise<MethodResult> {
  const startedAt = clock(), { solution } = result, { q, mask } = solution;
  const weights = { delta: layer.weight, q, mask };
  const report = await refit(
    backend,
    weights,
    await scaledStatistics(),
    parameters.refitSteps!,
    validation,
  );
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
  const isValidated = before.validationLoss !== undefined;
  const name = isValidated ? "validation loss" : isExact ? "loss" : "damped loss";
  const [from, to] = [before, after].map(({ loss, dampedLoss, validationLoss }) =>
    (validationLoss ?? (isExact ? loss! : dampedLoss)) * lossUnit
  );
  return steps > 0
    ? `The refit lowered the ${name} from ${from} to ${to}.`
    : `The refit was discarded, because it did not lower the ${name} of ${from}.`;
}

/** Rounds the kept weights, and improves them if the method and its effort do so. */
async function roundResult(
  { backend, operands: { layer, factor }, parameters, scaledStatistics }: SolveTask,
  result: MethodResult,
): Promise<MethodResult> {
  const { solution } = result, { loss } = solution, { method, effort, quantization } = parameters;
  const statistics = await scaledStatistics(),
    sweeps = improvesRounding(method, effort) ? ROUNDING_SWEEPS : 0;
  const rounded = await roundSolution(backend, layer, solution, factor!, statistics, quantization!, sweeps);
  const notes = loss === null || rounded.loss === null
    ? result.notes
    : [...result.notes, `Rounding raised the loss from ${loss} to ${rounded.loss}.`];
  return { ...result, solution: rounded, damping: factor!.damping, notes };
}
