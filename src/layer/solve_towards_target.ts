/** Solves a layer that has a target: takes the step towards the target, runs the method, and measures the result. */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { chooseTargetStep } from "./validation/choose_target_step.ts";
import { total } from "./linalg/quadratic_form.ts";
import { copyShrunk } from "./linalg/shrink.ts";
import { type DampedParameters, type LayerOperands, type MethodResult, usesHessian } from "./methods.ts";
import { roundToDtype } from "./round_answer.ts";
import { runMethod } from "./run_method.ts";
import { TargetStep } from "./target_step.ts";

/** The note of a layer with a target whose other notes state losses. */
const TARGET_NOTE =
  "The losses in the other notes are errors against the weights after the step towards the target, and with a " +
  "validation target, the validation losses are changes of the error against this target.";

interface StepParameters extends DampedParameters {
  /** s, by which the solve shrinks the Hessian (`linalg/shrink.ts`). The given factor belongs to the shrunk Hessian. */
  readonly shrinkage: number;
}

/**
 * Takes the step towards the target, runs the method, and measures its result against the original weights.
 * @throws the errors of `chooseTargetStep` and `runMethod`
 */
export async function solveTowardsTarget(
  backend: Backend,
  { target, ...operands }: LayerOperands & { readonly target: TiledMatrix },
  { targetStep, shrinkage, answerDtype = "F32", ...parameters }: StepParameters,
  clock: () => number,
): Promise<MethodResult> {
  using owned = new DisposableStack();
  const { layer, validation, validationTarget } = operands;
  const factor = operands.factor!, hessian = operands.hessian!;
  const tensors = { weight: layer.weight, hessian, target, validation, validationTarget };
  const step = await TargetStep.open(backend, tensors, factor, shrinkage > 0);
  owned.defer(() => step.destroy());
  const { validationGradient } = step;
  const size = targetStep === "auto"
    ? await chooseTargetStep(
      backend,
      { layer, change: step.change, validation: validation!, gradient: validationGradient!.gradient },
      factor,
      parameters,
    )
    : targetStep!;
  step.take(size);
  // The method may overwrite the Hessian, with which its result is measured.
  const copy = usesHessian(parameters) ? await copyShrunk(backend, hessian, shrinkage) : undefined;
  owned.defer(() => copy?.destroy());
  const measuresErrors = validation !== undefined && !validationGradient && parameters.relativeError;
  const result = await runMethod(
    backend,
    { ...operands, hessian: copy, validationGradient },
    { ...parameters, relativeError: measuresErrors },
    clock,
  );
  const { solution, notes } = result;
  copy?.destroy();
  using unfinished = new ResourceSet();
  unfinished.add(solution);
  const isRounded = answerDtype !== "F32", isUnchanged = !isRounded && !factor.dead && shrinkage === 0;
  const { rowErrors } = solution, isPass = !usesHessian(parameters) && isUnchanged;
  using copies = new ResourceSet();
  const q = isRounded ? await roundToDtype(backend, solution, answerDtype, copies) : solution.q;
  const { loss, weightForm, change, validation: heldOut } = await step.measure(q, {
    passError: isPass && rowErrors ? total(rowErrors) : undefined,
    validationChange: result.validation?.loss,
  });
  const asked = (form: number) => parameters.relativeError ? form : null;
  unfinished.move();
  return {
    ...result,
    solution: { ...solution, loss, weightForm: asked(weightForm) },
    damping: result.damping ?? factor.damping,
    notes: notes.length > 0 ? [...notes, TARGET_NOTE] : notes,
    ...heldOut && result.validation && {
      validation: { ...result.validation, loss: heldOut.loss, weightForm: asked(heldOut.weightForm) },
    },
    target: { step: size, change },
  };
}
