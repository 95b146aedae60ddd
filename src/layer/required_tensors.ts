/** Refuses a layer that lacks an optional tensor which its parameters need. */

import { TensorMismatchError } from "./errors.ts";
import { choosesDamping, type LayerParameters } from "./methods.ts";

/** The optional tensors of a layer, whether in its body or stored. */
export interface GivenTensors {
  readonly validation: boolean;
  readonly target: boolean;
}

/**
 * @param hasTargetStep whether the request has the parameter `target_step`
 * @throws {TensorMismatchError} naming the tensor and the parameter that needs it
 */
export function requireTensors(
  parameters: LayerParameters,
  rows: number,
  cols: number,
  has: GivenTensors,
  hasTargetStep: boolean,
): void {
  if (hasTargetStep && !has.target) {
    throw new TensorMismatchError("target", `F32 [${rows}, ${cols}], because target_step needs it`, "none");
  }
  if (choosesDamping(parameters) && !has.validation) {
    const expected = `F32 [${cols}, ${cols}], because damping auto chooses by the validation statistics`;
    throw new TensorMismatchError("validation_hessian", expected, "none");
  }
}
