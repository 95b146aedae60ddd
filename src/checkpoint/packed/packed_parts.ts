/**
 * The packed weights of a checkpoint, found by the names of their parts and checked: what the headers say, and the
 * shape. What the bits and offsets say is checked as they are read, in `unpacked_weight.ts`.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import { type Dtype, type FloatDtype, isFloatDtype } from "../../tensor/dtype.ts";
import { bitmaskRowBytes } from "./bitmask.ts";
import { type PackFormat, PART_SUFFIXES, partNames, stemOf, WEIGHT_SUFFIX } from "./format.ts";

/** A packed weight. */
export interface PackedParts {
  /** The name of the dense weight. */
  readonly weight: string;
  readonly dtype: FloatDtype;
  readonly rows: number;
  readonly cols: number;
  readonly format: PackFormat;
  /** Entries stored. */
  readonly kept: number;
  /** The parts' names. */
  readonly names: ReturnType<typeof partNames>;
}

/** What the names of the parts beside `name` begin with; undefined for a tensor that is no part. */
export function stemOfPart(name: string): string | undefined {
  const suffix = Object.values(PART_SUFFIXES).find((ending) => name.endsWith(ending));
  return suffix && name.slice(0, -suffix.length);
}

/**
 * The parts whose names begin with `stem`, which early versions of the library made of the whole name of the weight.
 * @throws {ModelError} one is missing, or has another dtype or shape than it must
 */
export async function packedParts(
  checkpoint: Checkpoint,
  stem: string,
  format: PackFormat,
): Promise<PackedParts> {
  const names = partNames(stem), weight = stemOf(stem) + WEIGHT_SUFFIX;
  if (checkpoint.has(weight)) {
    throw new ModelError(`${checkpoint.folder}: holds ${weight} both dense and packed`);
  }
  const [rows, cols] = await readShape(checkpoint, names.shape);
  const { dtype, shape: stored } = checkpoint.info(names.compressed);
  if (!isFloatDtype(dtype)) throw fault(checkpoint, names.compressed, "F32, F16 or BF16");
  expect(checkpoint, names.bitmask, "U8", [rows, bitmaskRowBytes(cols)]);
  if (format === "sparse-24") {
    if (cols % 4 !== 0) {
      throw new ModelError(`${checkpoint.folder}: ${names.shape} says ${cols} columns, not a multiple of 4`);
    }
    expect(checkpoint, names.compressed, dtype, [rows, cols / 2]);
  } else {
    if (stored.length !== 1) throw fault(checkpoint, names.compressed, "one extent");
    expect(checkpoint, names.rowOffsets, "I64", [rows]);
  }
  const kept = stored.reduce((product, extent) => product * extent, 1);
  return { weight, dtype, rows, cols, format, kept, names };
}

/** Both [2] and [2, 1] are written, by version and layout. */
async function readShape(checkpoint: Checkpoint, name: string): Promise<number[]> {
  const { dtype, shape } = checkpoint.info(name);
  if (dtype !== "I64" || (String(shape) !== "2" && String(shape) !== "2,1")) {
    throw fault(checkpoint, name, "I64 [2] or [2, 1]");
  }
  const extents = [...new BigInt64Array((await checkpoint.read(name, 0, 16)).slice().buffer)].map(Number);
  // Each bounds a tensor that is there, so a product past 2^53 cannot agree with the other parts.
  if (extents.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return extents;
  throw new ModelError(`${checkpoint.folder}: ${name} must hold a shape, not [${extents}]`);
}

function expect(checkpoint: Checkpoint, name: string, dtype: Dtype, shape: readonly number[]): void {
  const info = checkpoint.info(name);
  if (info.dtype === dtype && String(info.shape) === String(shape)) return;
  throw fault(checkpoint, name, `${dtype} [${shape}]`);
}

function fault(checkpoint: Checkpoint, name: string, needed: string): ModelError {
  const { dtype, shape } = checkpoint.info(name);
  return new ModelError(`${checkpoint.folder}: ${name} must be ${needed}, not ${dtype} [${shape}]`);
}
