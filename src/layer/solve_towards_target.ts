/** Solves a layer that may have a target: takes the step towards it, runs the method, and measures the result. */

import type { Backend } from "../device/backend.ts";
import type { Report } from "../protocol/messages.ts";
import { chooseTargetStep } from "./validation/choose_target_step.ts";
import { copyShrunk } from "./linalg/shrink.ts";
import { type DampedParameters, keepsHessian, type LayerOperands, type MethodResult } from "./methods.ts";
import { runMethod } from "./run_method.ts";
import type { Solution } from "./solvers/solver.ts";
import { type ValidationFigures, ValidationLoss } from "./solvers/validation_loss.ts";
import { TargetStep } from "./target_step.ts";

/** The note of a layer with a target whose other notes state losses. */
const TARGET_NOTE =
  "The losses in the other notes are errors against the weights after the step towards the target.";
/** The note of a layer with shrunk statistics whose other notes state losses. */
const SHRUNK_NOTE = "The losses in the other notes are those on the shrunk statistics.";

export interface SolveParameters extends DampedParameters {
  /** s, by which the solve shrinks the Hessian (`linalg/shrink.ts`). The given factor is that of the shrunk Hessian. */
  readonly shrinkage: number;
}

export interface TargetResult extends MethodResult {
  /** Undefined if the layer has no target. */
  readonly target?: {
    /** α, the size of the step that was taken. */
    readonly step: number;
    readonly change: NonNullable<Report["target_change"]>;
  };
}

/**
 * Takes the step towards the target if the layer has one, runs the method, and measures its result against the original
 * weights.
 * @throws the errors of `chooseTargetStep` and `runMethod`
 */
export async function solveTowardsTarget(
  backend: Backend,
  { target, ...operands }: LayerOperands,
  { targetStep, shrinkage, ...parameters }: SolveParameters,
  clock: () => number,
): Promise<TargetResult> {
  using owned = new DisposableStack();
  if (!target) {
    if (shrinkage === 0) return await runMethod(backend, operands, parameters, clock);
    const shrunk = owned.adopt(
      await copyShrunk(backend, operands.hessian!, shrinkage),
      (copy) => copy.destroy(),
    );
    const shrunkOperands = { ...operands, hessian: shrunk, unshrunk: operands.hessian };
    const result = await runMethod(backend, shrunkOperands, parameters, clock);
    const { notes } = result;
    return notes.length > 0 ? { ...result, notes: [...notes, SHRUNK_NOTE] } : result;
  }
  const { layer: { weight }, validation, validationTarget } = operands;
  const factor = operands.factor!, hessian = operands.hessian!;
  const size = targetStep === "auto"
    ? await chooseTargetStep(
      backend,
      {
        layer: operands.layer,
        hessian,
        target,
        validation: validation!,
        validationTarget: validationTarget!,
      },
      factor,
      parameters,
    )
    : targetStep!;
  const step = await TargetStep.take(backend, { weight, hessian, target }, factor, size);
  owned.defer(() => step.destroy());
  // The method may overwrite the Hessian, with which its result is measured.
  const isValidated = validation !== undefined;
  const copy = keepsHessian(parameters, isValidated)
    ? await copyShrunk(backend, hessian, shrinkage)
    : undefined;
  owned.defer(() => copy?.destroy());
  const result = await runMethod(
    backend,
    { ...operands, hessian: copy },
    { ...parameters, relativeError: isValidated && parameters.relativeError },
    clock,
  );
  const { solution, notes } = result;
  copy?.destroy();
  try {
    const validated = validation && validationTarget && result.validation
      ? await measureValidation(backend, step, solution, result.validation, validation, validationTarget)
      : undefined;
    const { loss, weightForm, change } = await step.measure(solution.q);
    return {
      ...result,
      solution: { ...solution, loss, weightForm: parameters.relativeError ? weightForm : null },
      damping: result.damping ?? factor.damping,
      notes: notes.length > 0 ? [...notes, TARGET_NOTE] : notes,
      ...validated && { validation: validated.figures },
      target: { step: size, change: { ...change, ...validated && { validation: validated.change } } },
    };
  } catch (error) {
    solution.destroy();
    throw error;
  }
}

/** Measures a result against the original weights by the validation statistics and the validation target. */
async function measureValidation(
  backend: Backend,
  step: TargetStep,
  solution: Solution,
  figures: ValidationFigures,
  hessian: NonNullable<LayerOperands["validation"]>,
  target: NonNullable<LayerOperands["validationTarget"]>,
): Promise<{ readonly figures: ValidationFigures; readonly change: number | null }> {
  const validation = await ValidationLoss.open(backend, step.original, hessian, target);
  try {
    const { form, loss } = await validation.figures(solution), weightForm = await validation.weightForm();
    const change = loss / weightForm;
    return {
      figures: { ...figures, loss: form, weightForm: figures.weightForm === null ? null : weightForm },
      change: Number.isFinite(change) ? change : null,
    };
  } finally {
    validation.destroy();
  }
}
