/**
 * Checks the header of a body before any data is read: which tensors it has, their dtypes and ranks, and whether their shapes fit
 * together. Values are checked later, on the device.
 */

import { MAX_FEATURES } from "../protocol/limits.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";
import { type FloatDtype, isFloatDtype } from "../tensor/dtype.ts";
import { TensorMismatchError } from "./errors.ts";

/** The tensors that carry statistics. A body has at most one of them. */
const STATISTICS = ["hessian", "hessian_upper", "inputs"] as const;

/** The name of a statistics tensor. */
export type StatisticsName = (typeof STATISTICS)[number];

/** Whether the body must have statistics, may have them, or must not because the request names stored ones. */
export type StatisticsRule = "required" | "optional" | "elsewhere";

/** The checked tensors of a layer's body. */
export interface CheckedBody {
  readonly rows: number;
  readonly cols: number;
  readonly weight: FloatTensor;
  readonly statistics: Statistics | undefined;
  readonly mask: { readonly packed: boolean } | undefined;
}

/** A two-dimensional floating-point tensor. */
export interface FloatTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
  readonly rows: number;
  readonly cols: number;
}

/** The statistics of `order` inputs. */
export type Statistics =
  | { readonly name: "hessian" | "hessian_upper"; readonly order: number }
  | { readonly name: "inputs"; readonly order: number; readonly tensor: FloatTensor };

/** Checks a layer's body. @throws {TensorMismatchError} naming the first tensor that is missing, unknown or does not fit */
export function checkLayerTensors(tensors: readonly TensorInfo[], rule: StatisticsRule): CheckedBody {
  refuseUnknown(tensors, ["weight", "mask", ...STATISTICS]);
  const weightInfo = find(tensors, "weight");
  if (!weightInfo) throw new TensorMismatchError("weight", "[out_features, in_features]", "none");
  const weight = floatMatrix(weightInfo, "[out_features, in_features]");
  const statistics = findStatistics(tensors);
  if (statistics && rule === "elsewhere") {
    throw new TensorMismatchError(statistics.name, "none, since the request names stored statistics", "one");
  }
  if (!statistics && rule === "required") {
    throw new TensorMismatchError("hessian", `one of ${STATISTICS.join(", ")}, or stored statistics`, "none");
  }
  const { rows, cols } = weight;
  return {
    rows,
    cols,
    weight,
    statistics: statistics && checkStatistics(statistics, cols),
    mask: checkMask(find(tensors, "mask"), rows, cols),
  };
}

/** Checks a body that holds a Hessian and nothing else. @throws {TensorMismatchError} as `checkLayerTensors` */
export function checkHessianTensors(
  tensors: readonly TensorInfo[],
): Statistics & { name: "hessian" | "hessian_upper" } {
  refuseUnknown(tensors, ["hessian", "hessian_upper"]);
  const info = findStatistics(tensors);
  if (!info) throw new TensorMismatchError("hessian", "hessian or hessian_upper", "none");
  const order = info.name === "hessian" ? info.shape[0] ?? 0 : packedOrder(info);
  checkExtent(info, order);
  const statistics = checkStatistics(info, order);
  if (statistics.name === "inputs") throw new TypeError("inputs are refused above");
  return statistics;
}

function find(tensors: readonly TensorInfo[], name: string): TensorInfo | undefined {
  return tensors.find((tensor) => tensor.name === name);
}

function refuseUnknown(tensors: readonly TensorInfo[], known: readonly string[]): void {
  for (const { name } of tensors) {
    if (!known.includes(name)) throw new TensorMismatchError(name, `none but ${known.join(", ")}`, "one");
  }
}

function findStatistics(tensors: readonly TensorInfo[]): TensorInfo | undefined {
  const found = STATISTICS.flatMap((name) => find(tensors, name) ?? []);
  if (found.length > 1) {
    throw new TensorMismatchError(found[1].name, "one statistics tensor", `${found[0].name} as well`);
  }
  return found[0];
}

function checkStatistics(info: TensorInfo, cols: number): Statistics {
  const { name } = info;
  if (name === "inputs") {
    const tensor = floatMatrix(info, `[tokens, ${cols}]`, { anyRows: true });
    if (tensor.cols !== cols) throw mismatch(info, `[tokens, ${cols}]`);
    return { name, order: cols, tensor };
  }
  const shape = name === "hessian" ? [cols, cols] : [(cols * (cols + 1)) / 2];
  if (info.dtype !== "F32" || !sameShape(info.shape, shape)) {
    throw mismatch(info, `F32 [${shape.join(", ")}]`);
  }
  return { name: name as "hessian" | "hessian_upper", order: cols };
}

function checkMask(info: TensorInfo | undefined, rows: number, cols: number): CheckedBody["mask"] {
  if (!info) return undefined;
  const packed = info.dtype === "U8" && sameShape(info.shape, [rows, Math.ceil(cols / 8)]);
  if (!packed && !(info.dtype === "BOOL" && sameShape(info.shape, [rows, cols]))) {
    throw mismatch(info, `U8 [${rows}, ${Math.ceil(cols / 8)}] or BOOL [${rows}, ${cols}]`);
  }
  return { packed };
}

/** With `anyRows` the number of rows is not limited, because the rows are tokens and not features. */
function floatMatrix(info: TensorInfo, shape: string, { anyRows = false } = {}): FloatTensor {
  const { name, dtype, shape: [rows, cols] } = info;
  if (!isFloatDtype(dtype) || info.shape.length !== 2 || rows === 0 || cols === 0) {
    throw mismatch(info, `F32, F16 or BF16 ${shape}, no extent 0`);
  }
  if (!anyRows) checkExtent(info, rows);
  checkExtent(info, cols);
  return { name, dtype, rows, cols };
}

function checkExtent(info: TensorInfo, extent: number): void {
  if (!(extent >= 1 && extent <= MAX_FEATURES)) throw mismatch(info, `1 to ${MAX_FEATURES} features`);
}

/** Returns n for a length of n·(n+1)/2. For any other length it returns an order whose packed length differs, so the check fails. */
function packedOrder({ shape }: TensorInfo): number {
  return Math.floor((Math.sqrt(8 * (shape[0] ?? 0) + 1) - 1) / 2);
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

function mismatch(info: TensorInfo, expected: string): TensorMismatchError {
  return new TensorMismatchError(info.name, expected, `${info.dtype} [${info.shape.join(", ")}]`);
}
