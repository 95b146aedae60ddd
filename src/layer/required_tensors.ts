/** Refuses a layer whose tensors do not fit its parameters, or whose stored statistics do not fit its inputs. */

import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { TensorMismatchError } from "./errors.ts";
import type { Loan } from "./loan.ts";
import { choosesDamping, type LayerParameters } from "./methods.ts";

/** The optional tensors of a layer, whether in its body or stored. */
export interface GivenTensors {
  readonly mask: boolean;
  readonly validation: boolean;
  readonly target: boolean;
  readonly validationTarget: boolean;
}

/**
 * @param hasTargetStep whether the request has the parameter `target_step`
 * @throws {TensorMismatchError} naming the tensor and the parameter that needs or refuses it
 */
export function requireTensors(
  parameters: LayerParameters,
  rows: number,
  cols: number,
  has: GivenTensors,
  hasTargetStep: boolean,
): void {
  const refuse = (tensor: string, shape: readonly number[], reason: string) => {
    throw new TensorMismatchError(tensor, `F32 [${shape.join(", ")}], because ${reason}`, "none");
  };
  const { pattern } = parameters;
  if (pattern.kind === "columns" && cols % pattern.group !== 0) {
    const expected =
      `[out_features, a multiple of ${pattern.group}], because column_group is ${pattern.group}`;
    throw new TensorMismatchError("weight", expected, `[${rows}, ${cols}]`);
  }
  if (pattern.kind === "columns" && has.mask) {
    throw new TensorMismatchError("mask", "no mask of single weights, because pattern is columns", "a mask");
  }
  if (!has.target && (hasTargetStep || has.validationTarget)) {
    refuse("target", [rows, cols], `${hasTargetStep ? "target_step" : "validation_target"} needs it`);
  }
  if (parameters.targetStep === "auto" && !has.validationTarget) {
    refuse("validation_target", [rows, cols], "target_step auto chooses by it");
  }
  if (has.validationTarget && !has.validation) {
    refuse("validation_hessian", [cols, cols], "validation_target needs it");
  }
  if (choosesDamping(parameters) && !has.validation) {
    refuse("validation_hessian", [cols, cols], "damping auto chooses by the validation statistics");
  }
}

/** @throws {TensorMismatchError} if the stored statistics are for another number of inputs than the layer has */
export function checkLoanFits({ rows, cols }: Pick<TiledMatrix, "rows" | "cols">, loan: Loan): void {
  const order = loan.hessian.cols;
  if (order !== cols) {
    throw new TensorMismatchError(
      "weight",
      `[out_features, ${order}] to fit the stored statistics`,
      `[${rows}, ${cols}]`,
    );
  }
}
