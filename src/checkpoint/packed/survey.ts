/**
 * Which weights of a checkpoint to pack, found by reading each once: the headers of the new files hold the sizes of
 * the parts, so the kept entries are counted before anything is written.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import { BYTES_PER_ELEMENT, isFloatDtype } from "../../tensor/dtype.ts";
import { bitmaskRowBytes, countRows, nonZeroBits } from "./bitmask.ts";
import { type PackFormat, WEIGHT_SUFFIX } from "./format.ts";
import { readStrips } from "./strips.ts";
import { completeTwoFour } from "./two_four.ts";

/** A weight that packing makes smaller. */
export interface PackableWeight {
  readonly name: string;
  /** Entries with a bit set. */
  readonly nonZeros: number;
}

/** How to look. */
export interface SurveyOptions {
  readonly format: PackFormat;
  /** The weights to pack; without it, every 2-D weight that can be. */
  readonly weights?: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * The weights to pack, in the checkpoint's order. Those that would not be smaller are left out.
 * @throws {ModelError} none is left, or one asked for cannot be packed: not there, not 2-D, not 2:4
 */
export async function surveyWeights(
  checkpoint: Checkpoint,
  options: SurveyOptions,
): Promise<PackableWeight[]> {
  const { format, weights, signal } = options;
  const asked = weights && new Set(weights);
  for (const name of asked ?? []) checkAsked(checkpoint, name);
  const packable: PackableWeight[] = [];
  let reason = `no 2-D tensor is called …${WEIGHT_SUFFIX}`;
  for (const name of checkpoint.names()) {
    if (asked ? !asked.has(name) : !isMatrix(checkpoint, name)) continue;
    signal?.throwIfAborted();
    const { nonZeros, fault } = await survey(checkpoint, name, format, signal);
    if (fault && asked) throw new ModelError(`${checkpoint.folder}: ${fault}`);
    if (!fault && packedBytes(checkpoint, name, format, nonZeros) < denseBytes(checkpoint, name)) {
      packable.push({ name, nonZeros });
    } else reason = fault ?? `${name} has too few zeros`;
  }
  if (packable.length > 0) return packable;
  throw new ModelError(`${checkpoint.folder}: no weight becomes smaller as ${format}: ${reason}`);
}

function isMatrix(checkpoint: Checkpoint, name: string): boolean {
  const { dtype, shape } = checkpoint.info(name);
  return name.endsWith(WEIGHT_SUFFIX) && shape.length === 2 && isFloatDtype(dtype);
}

function checkAsked(checkpoint: Checkpoint, name: string): void {
  const { dtype, shape } = checkpoint.info(name);
  if (isMatrix(checkpoint, name)) return;
  throw new ModelError(
    `${checkpoint.folder}: cannot pack ${name}: needs a 2-D …${WEIGHT_SUFFIX} of F32, F16 or BF16, ` +
      `got ${dtype} [${shape}]`,
  );
}

/** Counts the entries of a weight that are not zero, and says why it cannot take the format. */
async function survey(
  checkpoint: Checkpoint,
  name: string,
  format: PackFormat,
  signal: AbortSignal | undefined,
): Promise<{ nonZeros: number; fault?: string }> {
  const [, cols] = checkpoint.info(name).shape;
  if (format === "sparse-24" && cols % 4 !== 0) {
    return { nonZeros: 0, fault: `${name} is not 2:4: its ${cols} columns are not a multiple of 4` };
  }
  let nonZeros = 0;
  for await (const { firstRow, words } of readStrips(checkpoint, name)) {
    signal?.throwIfAborted();
    const bits = nonZeroBits(words, cols);
    for (const count of countRows(bits, bitmaskRowBytes(cols))) nonZeros += count;
    const crowded = format === "sparse-24" ? completeTwoFour(bits, cols) : undefined;
    if (!crowded) continue;
    const { row, col } = crowded;
    const fault = `${name} is not 2:4: row ${firstRow + row} has more than two entries that are not +0 in ` +
      `columns ${col} to ${col + 3}`;
    return { nonZeros, fault };
  }
  return { nonZeros };
}

function denseBytes(checkpoint: Checkpoint, name: string): number {
  const { dtype, shape: [rows, cols] } = checkpoint.info(name);
  return rows * cols * BYTES_PER_ELEMENT[dtype];
}

function packedBytes(checkpoint: Checkpoint, name: string, format: PackFormat, nonZeros: number): number {
  const { dtype, shape: [rows, cols] } = checkpoint.info(name);
  const kept = format === "sparse-24" ? rows * cols / 2 : nonZeros;
  const rowOffsets = format === "sparse-24" ? 0 : rows * BYTES_PER_ELEMENT.I64;
  return kept * BYTES_PER_ELEMENT[dtype] + rows * bitmaskRowBytes(cols) + 2 * BYTES_PER_ELEMENT.I64 +
    rowOffsets;
}
