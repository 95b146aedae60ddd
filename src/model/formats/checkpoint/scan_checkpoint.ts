/** Scans the float tensors of a checkpoint, whether its weights are dense or quantised. */

import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { copyBytes } from "../../../base/files/chunks.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { tensorBytes } from "../../../tensor/dtype.ts";
import type { TensorSource } from "../../checkpoint/tensor_source.ts";
import { openDense } from "./dense_checkpoint.ts";
import {
  isScannable,
  type ScanPattern,
  type ScanResult,
  TensorScan,
} from "../../checkpoint/inspect/tensor_scan.ts";

/** A tensor as it is in the dense form of the checkpoint, and what was found in it. */
export interface ScannedTensor extends ScanResult {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

export interface ScanOptions {
  /** Returns the pattern to check for a matrix, or undefined if none is to be checked. */
  patternOf?(name: string, shape: readonly number[]): ScanPattern | undefined;
  readonly signal?: AbortSignal;
  /** Called after each tensor. `total` is the number of all tensors. */
  progress?(done: number, total: number, name: string): void;
}

/**
 * Yields the float tensors in the order of the files. At most one chunk of a tensor is in memory at a time.
 * @throws {ModelError} if the layout is not supported, or if the tensors of a quantised weight contradict each other
 */
export async function* scanCheckpoint(
  checkpoint: Checkpoint,
  { patternOf, signal, progress }: ScanOptions = {},
): AsyncGenerator<ScannedTensor, void, undefined> {
  const dense = await openDense(checkpoint), all = dense.shards.flatMap(({ header }) => header.tensors);
  for (const [done, { name, dtype, shape }] of all.entries()) {
    const result = await scanTensor(dense, name, patternOf?.(name, shape), signal);
    if (result) yield { name, dtype, shape, ...result };
    progress?.(done + 1, all.length, name);
  }
}

/** Scans the tensors with these names. @throws {ModelError} if an entry is NaN or infinite */
export async function requireFiniteWeights(
  weights: TensorSource,
  names: Iterable<string>,
  signal: AbortSignal,
): Promise<void> {
  for (const name of names) {
    const first = (await scanTensor(weights, name, undefined, signal))?.firstNonFinite ?? null;
    if (first === null) continue;
    const columns = weights.info(name).shape.at(-1)!,
      position = [Math.floor(first / columns), first % columns];
    throw new ModelError(
      `${name}: entry [${position.join(", ")}] is NaN or infinite, so the checkpoint is damaged`,
    );
  }
}

/** Scans one tensor. Returns undefined if its entries are not floats. @param wanted the pattern to check */
async function scanTensor(
  tensors: TensorSource,
  name: string,
  wanted?: ScanPattern,
  signal?: AbortSignal,
): Promise<ScanResult | undefined> {
  const { dtype, shape } = tensors.info(name);
  if (!isScannable(dtype)) return undefined;
  const scan = new TensorScan(dtype, shape, wanted);
  await copyBytes(
    (offset, length) => tensors.read(name, offset, length),
    (_, bytes) => Promise.resolve(scan.add(bytes)),
    tensorBytes(dtype, shape),
    signal,
  );
  return scan.result;
}
