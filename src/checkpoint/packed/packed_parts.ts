/**
 * Finds the parts of a packed weight, which are the tensors that represent the weight. Checks that the dtypes
 * and shapes of the parts agree with the shape that the part `shape` contains. The bits and the row offsets
 * are checked later, when `unpacked_entry.ts` reads them.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import { type Dtype, type FloatDtype, isFloatDtype } from "../../tensor/dtype.ts";
import { bitmaskRowBytes } from "./bitmask.ts";
import { type PackFormat, PART_SUFFIXES, partNames, stemOf, WEIGHT_SUFFIX } from "./format.ts";

/** A packed weight whose parts have been checked. */
export interface PackedParts {
  /** The name of the dense weight. */
  readonly weight: string;
  readonly dtype: FloatDtype;
  readonly rows: number;
  readonly cols: number;
  readonly format: PackFormat;
  /** The number of stored entries. */
  readonly valueCount: number;
  /** The names of the parts. */
  readonly names: ReturnType<typeof partNames>;
}

/**
 * Returns the stem of the name of a part, which is the name without the part's suffix. Returns undefined if
 * the tensor is not a part.
 */
export function stemOfPart(name: string): string | undefined {
  const suffix = Object.values(PART_SUFFIXES).find((ending) => name.endsWith(ending));
  return suffix && name.slice(0, -suffix.length);
}

/**
 * Reads the description of a packed weight. The names of its parts begin with `stem`, which ends in `.weight`
 * in files of early versions of the library.
 *
 * @throws {ModelError} if a part is missing, or if its dtype or shape is wrong
 */
export async function readPackedParts(
  checkpoint: Checkpoint,
  stem: string,
  format: PackFormat,
): Promise<PackedParts> {
  const names = partNames(stem), weight = stemOf(stem) + WEIGHT_SUFFIX;
  if (checkpoint.has(weight)) {
    throw new ModelError(`${checkpoint.folder}: holds ${weight} both dense and packed`);
  }
  const [rows, cols] = await readStoredShape(checkpoint, names.shape);
  const { dtype, shape: stored } = checkpoint.info(names.compressed);
  if (!isFloatDtype(dtype)) throw mismatchError(checkpoint, names.compressed, "F32, F16 or BF16");
  requireTensor(checkpoint, names.bitmask, "U8", [rows, bitmaskRowBytes(cols)]);
  if (format === "sparse-24") {
    if (cols % 4 !== 0) {
      throw new ModelError(`${checkpoint.folder}: ${names.shape} says ${cols} columns, not a multiple of 4`);
    }
    requireTensor(checkpoint, names.compressed, dtype, [rows, cols / 2]);
  } else {
    if (stored.length !== 1) throw mismatchError(checkpoint, names.compressed, "a tensor with one axis");
    requireTensor(checkpoint, names.rowOffsets, "I64", [rows]);
  }
  const valueCount = stored.reduce((product, extent) => product * extent, 1);
  return { weight, dtype, rows, cols, format, valueCount, names };
}

/**
 * Reads a tensor that contains the shape of a weight. Its own shape is [2] or [2, 1], depending on the layout and the version of
 * the library.
 */
export async function readStoredShape(checkpoint: Checkpoint, name: string): Promise<number[]> {
  const { dtype, shape } = checkpoint.info(name);
  if (dtype !== "I64" || (String(shape) !== "2" && String(shape) !== "2,1")) {
    throw mismatchError(checkpoint, name, "I64 [2] or [2, 1]");
  }
  const extents = [...new BigInt64Array((await checkpoint.read(name, 0, 16)).slice().buffer)].map(Number);
  // The product of the extents needs no check. Each extent must agree with the shapes of the other parts, which are limited by
  // the size of the file.
  if (extents.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return extents;
  throw new ModelError(`${checkpoint.folder}: ${name} must hold a shape, not [${extents}]`);
}

function requireTensor(checkpoint: Checkpoint, name: string, dtype: Dtype, shape: readonly number[]): void {
  const info = checkpoint.info(name);
  if (info.dtype === dtype && String(info.shape) === String(shape)) return;
  throw mismatchError(checkpoint, name, `${dtype} [${shape}]`);
}

function mismatchError(checkpoint: Checkpoint, name: string, needed: string): ModelError {
  const { dtype, shape } = checkpoint.info(name);
  return new ModelError(`${checkpoint.folder}: ${name} must be ${needed}, not ${dtype} [${shape}]`);
}
