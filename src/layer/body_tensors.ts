/**
 * Checks the header of a request body before any tensor data is read. The checks cover which tensors the body has, their dtypes, whether
 * their shapes fit together, and whether the tensors fit the parameters. The values of the tensors are checked later, on the device. A body
 * can contain statistics of the layer's calibration inputs, which the solver uses to choose the weights to prune.
 */

import { MAX_FEATURES, MAX_TOKENS } from "../protocol/limits.ts";
import type { Refusal } from "../protocol/refusal.ts";
import type { TensorInfo } from "../tensor/safetensors/header.ts";
import { maskRowBytes } from "../tensor/pattern.ts";
import { type FloatDtype, isFloatDtype, sameShape } from "../tensor/dtype.ts";
import { joinedItems } from "../base/texts.ts";
import { tensorMismatch } from "./errors.ts";
import { choosesDamping, type LayerParameters } from "./methods.ts";

/** The names of the tensors that contain statistics. A body has at most one of these tensors. */
const STATISTICS = ["hessian", "hessian_upper", "inputs"] as const;

/** The names of the tensors that contain validation statistics. A body has at most one of these tensors. */
const VALIDATION = ["validation_hessian", "validation_hessian_upper"] as const;
/** The name of the tensor with the cross moment of the wanted outputs and the inputs. */
const TARGET = "target";
/** The name of the tensor with the same moment of inputs that are in the validation statistics. */
const VALIDATION_TARGET = "validation_target";

/**
 * Whether a layer's body must have statistics ("required"), must have the inputs themselves ("inputs"), may have statistics
 * ("optional"), or must not have them because the request names statistics that are already stored ("stored").
 */
export type StatisticsRule = "required" | "inputs" | "optional" | "stored";

export interface CheckedBody {
  readonly rows: number;
  readonly cols: number;
  readonly weight: FloatTensor;
  readonly statistics: Statistics | undefined;
  /** The statistics of inputs that are not in `statistics`. They decide which of two results is better. */
  readonly validation: HessianTensor | undefined;
  /** `packed` is true for U8 [rows, ⌈cols/8⌉] with one bit per entry, and false for BOOL [rows, cols]. */
  readonly mask: { readonly packed: boolean } | undefined;
  /** The target, (rows, cols). */
  readonly target: FloatTensor | undefined;
  /** The target of the validation inputs, (rows, cols). */
  readonly validationTarget: FloatTensor | undefined;
}

export interface FloatTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
  readonly rows: number;
  readonly cols: number;
}

/** A symmetric matrix of a layer with `order` inputs (in_features), whole or as a packed upper triangle. */
export interface HessianTensor {
  readonly name: Exclude<typeof STATISTICS[number], "inputs"> | typeof VALIDATION[number];
  readonly order: number;
}

/** Statistics of a layer with `order` inputs (in_features). */
export type Statistics =
  | HessianTensor
  | { readonly name: "inputs"; readonly order: number; readonly tensor: FloatTensor };

/** The tensors of a body that stores statistics. */
export interface StoredTensors {
  readonly statistics: HessianTensor;
  readonly validation: HessianTensor | undefined;
}

/** Checks the tensors of a layer's body. @throws {Refusal} `shape_mismatch` for the first tensor that is missing, unknown or does not fit */
export function checkLayerTensors(tensors: readonly TensorInfo[], rule: StatisticsRule): CheckedBody {
  rejectUnknownTensors(tensors, ["weight", "mask", TARGET, VALIDATION_TARGET, ...STATISTICS, ...VALIDATION]);
  const weightInfo = find(tensors, "weight");
  if (!weightInfo) throw tensorMismatch("weight", "[out_features, in_features]", "none");
  const weight = floatMatrix(weightInfo, "[out_features, in_features]"), targetInfo = find(tensors, TARGET);
  const statistics = findOnly(tensors, STATISTICS), validation = findOnly(tensors, VALIDATION);
  const validationTarget = find(tensors, VALIDATION_TARGET);
  const besidesStored = rule === "stored" ? statistics ?? validation : undefined;
  if (besidesStored) {
    throw tensorMismatch(
      besidesStored.name,
      "no statistics, because the request names stored ones",
      describe(besidesStored),
    );
  }
  if (!statistics && (rule === "required" || (targetInfo && rule === "optional"))) {
    const reason = rule === "required" ? "" : ", because the step towards the target needs them";
    const expected = `one of ${STATISTICS.join(", ")}, or stored statistics${reason}`;
    throw tensorMismatch("hessian", expected, "none");
  }
  if (rule === "inputs" && statistics?.name !== "inputs") {
    throw tensorMismatch(
      "inputs",
      "the calibration inputs, because token_weights weighs them",
      statistics ? describe(statistics) : "none",
    );
  }
  const { rows, cols } = weight;
  return {
    rows,
    cols,
    weight,
    statistics: statistics && checkStatistics(statistics, cols),
    validation: validation && checkHessian(validation, cols),
    mask: checkMask(find(tensors, "mask"), rows, cols),
    target: targetInfo && checkTarget(targetInfo, rows, cols),
    validationTarget: validationTarget && checkTarget(validationTarget, rows, cols),
  };
}

/**
 * Checks a body that must have a Hessian, may have validation statistics of the same order, and must have nothing else.
 * @throws {Refusal} `shape_mismatch` for the first tensor that is missing, unknown or does not fit
 */
export function checkHessianTensors(tensors: readonly TensorInfo[]): StoredTensors {
  rejectUnknownTensors(tensors, ["hessian", "hessian_upper", ...VALIDATION]);
  const info = findOnly(tensors, STATISTICS), validation = findOnly(tensors, VALIDATION);
  if (!info) throw tensorMismatch("hessian", "hessian or hessian_upper", "none");
  const order = info.name === "hessian" ? info.shape[0] ?? 0 : packedOrder(info);
  checkExtent(info, order);
  return {
    statistics: checkHessian(info, order),
    validation: validation && checkHessian(validation, order),
  };
}

/** The optional tensors of a layer, whether in its body or stored. */
export interface GivenTensors {
  readonly mask: boolean;
  readonly validation: boolean;
  readonly target: boolean;
  readonly validationTarget: boolean;
}

/**
 * Checks that a layer has the tensors that its parameters need, and none that they refuse.
 * @param hasTargetStep whether the request has the parameter `target_step`
 * @param storedOrder the number of inputs of the stored statistics, if the request names some
 * @throws {Refusal} `shape_mismatch`, naming the tensor and the parameter that needs or refuses it
 */
export function requireTensors(
  parameters: LayerParameters,
  rows: number,
  cols: number,
  has: GivenTensors,
  hasTargetStep: boolean,
  storedOrder?: number,
): void {
  const refuse = (tensor: string, shape: readonly number[], reason: string) => {
    throw tensorMismatch(tensor, `F32 [${shape.join(", ")}], because ${reason}`, "none");
  };
  const { pattern } = parameters;
  if (pattern.kind === "columns" && cols % pattern.group !== 0) {
    const expected =
      `[out_features, a multiple of ${pattern.group}], because column_group is ${pattern.group}`;
    throw tensorMismatch("weight", expected, `[${rows}, ${cols}]`);
  }
  if (pattern.kind === "columns" && has.mask) {
    throw tensorMismatch("mask", "no mask of single weights, because pattern is columns", "a mask");
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
  if (storedOrder !== undefined && storedOrder !== cols) {
    const expected = `[out_features, ${storedOrder}] to fit the stored statistics`;
    throw tensorMismatch("weight", expected, `[${rows}, ${cols}]`);
  }
}

function find(tensors: readonly TensorInfo[], name: string): TensorInfo | undefined {
  return tensors.find((tensor) => tensor.name === name);
}

function rejectUnknownTensors(tensors: readonly TensorInfo[], allowed: readonly string[]): void {
  const unknown = tensors.find(({ name }) => !allowed.includes(name));
  if (unknown) {
    throw tensorMismatch(unknown.name, `a name among ${allowed.join(", ")}`, "an unknown name");
  }
}

/** Returns the tensor with one of `names`, if there is one. @throws {Refusal} `shape_mismatch` if there are two */
function findOnly(tensors: readonly TensorInfo[], names: readonly string[]): TensorInfo | undefined {
  const found = names.flatMap((name) => find(tensors, name) ?? []);
  if (found.length > 1) {
    const expected = names === VALIDATION ? "one validation tensor" : "one statistics tensor";
    throw tensorMismatch(found[1].name, expected, `${found[0].name} as well`);
  }
  return found[0];
}

function checkStatistics(info: TensorInfo, cols: number): Statistics {
  const { name } = info;
  if (name === "inputs") {
    const tensor = floatMatrix(info, `[tokens, ${cols}]`, MAX_TOKENS);
    if (tensor.cols !== cols) throw mismatch(info, `[tokens, ${cols}]`);
    return { name, order: cols, tensor };
  }
  return checkHessian(info, cols);
}

function checkHessian(info: TensorInfo, cols: number): HessianTensor {
  const name = info.name as HessianTensor["name"];
  const shape = name.endsWith("_upper") ? [(cols * (cols + 1)) / 2] : [cols, cols];
  if (info.dtype !== "F32" || !sameShape(info.shape, shape)) {
    throw mismatch(info, `F32 [${shape.join(", ")}]`);
  }
  return { name, order: cols };
}

function checkMask(info: TensorInfo | undefined, rows: number, cols: number): CheckedBody["mask"] {
  if (!info) return undefined;
  const rowBytes = maskRowBytes(cols);
  const packed = info.dtype === "U8" && sameShape(info.shape, [rows, rowBytes]);
  if (!packed && !(info.dtype === "BOOL" && sameShape(info.shape, [rows, cols]))) {
    throw mismatch(info, `U8 [${rows}, ${rowBytes}] or BOOL [${rows}, ${cols}]`);
  }
  return { packed };
}

function checkTarget(info: TensorInfo, rows: number, cols: number): FloatTensor {
  const { name, dtype } = info;
  if (dtype !== "F32" || !sameShape(info.shape, [rows, cols])) throw mismatch(info, `F32 [${rows}, ${cols}]`);
  return { name, dtype, rows, cols };
}

/** Checks a floating-point matrix. The rows of inputs are tokens, of which there may be more than features. */
function floatMatrix(info: TensorInfo, shape: string, maxRows = MAX_FEATURES): FloatTensor {
  const { name, dtype, shape: [rows, cols] } = info;
  if (!isFloatDtype(dtype) || info.shape.length !== 2 || rows === 0 || cols === 0) {
    throw mismatch(info, `F32, F16 or BF16 ${shape} with at least one row and column`);
  }
  if (rows > maxRows) {
    throw mismatch(info, `1 to ${maxRows} ${maxRows === MAX_TOKENS ? "tokens" : "features"}`);
  }
  checkExtent(info, cols);
  return { name, dtype, rows, cols };
}

function checkExtent(info: TensorInfo, extent: number): void {
  if (!(extent >= 1 && extent <= MAX_FEATURES)) throw mismatch(info, `1 to ${MAX_FEATURES} features`);
}

/**
 * Returns the order n of a packed triangle with n·(n+1)/2 elements. If no n gives the number of elements, returns the next smaller order,
 * so that the later check of the shape fails.
 */
function packedOrder({ shape }: TensorInfo): number {
  return Math.floor((Math.sqrt(8 * (shape[0] ?? 0) + 1) - 1) / 2);
}

function mismatch(info: TensorInfo, expected: string): Refusal {
  return tensorMismatch(info.name, expected, describe(info));
}

function describe({ dtype, shape }: TensorInfo): string {
  return `${dtype} [${joinedItems(shape)}]`;
}
