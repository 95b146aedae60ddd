/**
 * Finds the weights of a checkpoint that packing makes smaller. Every weight is read once to count its
 * non-zero entries. The sizes of the packed tensors depend on these counts, and the header of a packed file,
 * which is written first, contains the sizes.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import { BYTES_PER_ELEMENT, isFloatDtype } from "../../tensor/dtype.ts";
import { bitmaskRowBytes, countRows, nonZeroBits } from "./bitmask.ts";
import { type PackFormat, WEIGHT_SUFFIX } from "./format.ts";
import { readStrips } from "./row_strips.ts";
import { completeTwoFour } from "./complete_two_four.ts";

/** A weight that packing makes smaller. */
export interface PackableWeight {
  readonly name: string;
  /** The number of entries with at least one set bit. */
  readonly nonZeros: number;
}

/** Options of {@link findPackableWeights}. */
export interface PackableWeightOptions {
  readonly format: PackFormat;
  /** The names of the weights to pack. By default, every 2-D float weight that fits the format is packed. */
  readonly weights?: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * Selects the weights to pack, in the order of the checkpoint. Weights that would not become smaller are left out.
 *
 * @throws {ModelError} if no weight becomes smaller, or if a weight in `options.weights` does not exist, is not a 2-D float
 * weight or does not fit the format
 */
export async function findPackableWeights(
  checkpoint: Checkpoint,
  options: PackableWeightOptions,
): Promise<PackableWeight[]> {
  const { format, weights, signal } = options;
  const requestedNames = weights && new Set(weights);
  for (const name of requestedNames ?? []) requirePackable(checkpoint, name);
  const packable: PackableWeight[] = [];
  let reason = `no 2-D tensor is called …${WEIGHT_SUFFIX}`;
  for (const name of checkpoint.names()) {
    if (requestedNames ? !requestedNames.has(name) : !isMatrix(checkpoint, name)) continue;
    signal?.throwIfAborted();
    const { nonZeros, misfit } = await countNonZeros(checkpoint, name, format, signal);
    if (misfit && requestedNames) throw new ModelError(`${checkpoint.folder}: ${misfit}`);
    if (!misfit && packedBytes(checkpoint, name, format, nonZeros) < denseBytes(checkpoint, name)) {
      packable.push({ name, nonZeros });
    } else reason = misfit ?? `${name} has too few zeros`;
  }
  if (packable.length > 0) return packable;
  throw new ModelError(`${checkpoint.folder}: no weight becomes smaller as ${format}: ${reason}`);
}

function isMatrix(checkpoint: Checkpoint, name: string): boolean {
  const { dtype, shape } = checkpoint.info(name);
  return name.endsWith(WEIGHT_SUFFIX) && shape.length === 2 && isFloatDtype(dtype);
}

function requirePackable(checkpoint: Checkpoint, name: string): void {
  const { dtype, shape } = checkpoint.info(name);
  if (isMatrix(checkpoint, name)) return;
  throw new ModelError(
    `${checkpoint.folder}: cannot pack ${name}: needs a 2-D …${WEIGHT_SUFFIX} of F32, F16 or BF16, ` +
      `got ${dtype} [${shape}]`,
  );
}

/** Counts the non-zero entries of a weight. If the weight does not fit the format, `misfit` is the reason. */
async function countNonZeros(
  checkpoint: Checkpoint,
  name: string,
  format: PackFormat,
  signal: AbortSignal | undefined,
): Promise<{ nonZeros: number; misfit?: string }> {
  const [, cols] = checkpoint.info(name).shape;
  if (format === "sparse-24" && cols % 4 !== 0) {
    return { nonZeros: 0, misfit: `${name} is not 2:4: its ${cols} columns are not a multiple of 4` };
  }
  let nonZeros = 0;
  for await (const { firstRow, words } of readStrips(checkpoint, name)) {
    signal?.throwIfAborted();
    const bits = nonZeroBits(words, cols);
    for (const count of countRows(bits, bitmaskRowBytes(cols))) nonZeros += count;
    const violation = format === "sparse-24" ? completeTwoFour(bits, cols) : undefined;
    if (!violation) continue;
    const { row, col } = violation;
    const misfit = `${name} is not 2:4: row ${firstRow + row} has more than two entries that are not +0 in ` +
      `columns ${col} to ${col + 3}`;
    return { nonZeros, misfit };
  }
  return { nonZeros };
}

function denseBytes(checkpoint: Checkpoint, name: string): number {
  const { dtype, shape: [rows, cols] } = checkpoint.info(name);
  return rows * cols * BYTES_PER_ELEMENT[dtype];
}

function packedBytes(checkpoint: Checkpoint, name: string, format: PackFormat, nonZeros: number): number {
  const { dtype, shape: [rows, cols] } = checkpoint.info(name);
  const valueCount = format === "sparse-24" ? rows * cols / 2 : nonZeros;
  const rowOffsets = format === "sparse-24" ? 0 : rows * BYTES_PER_ELEMENT.I64;
  return valueCount * BYTES_PER_ELEMENT[dtype] + rows * bitmaskRowBytes(cols) + 2 * BYTES_PER_ELEMENT.I64 +
    rowOffsets;
}
