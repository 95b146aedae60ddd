/** Scans every float tensor of a checkpoint, whether its weights are dense or quantised. */

import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { copyBytes } from "../../../base/files/chunks.ts";
import { tensorBytes } from "../../../tensor/dtype.ts";
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
    if (isScannable(dtype)) {
      const scan = new TensorScan(dtype, shape, patternOf?.(name, shape));
      await copyBytes(
        (offset, length) => dense.read(name, offset, length),
        (_, bytes) => Promise.resolve(scan.add(bytes)),
        tensorBytes(dtype, shape),
        signal,
      );
      yield { name, dtype, shape, ...scan.result };
    }
    progress?.(done + 1, all.length, name);
  }
}
