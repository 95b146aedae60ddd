/** Writes the dense copy of a checkpoint that stores quantised weights. */

import type { WorkFileSystem } from "../../../base/files/file_system.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { countWeightFileBytes } from "../../checkpoint/weight_files.ts";
import { type CompleteOptions, openCopy } from "../../checkpoint/write/open_copy.ts";
import { planLayout } from "../../checkpoint/write/write_plan.ts";
import { openDense } from "./dense_checkpoint.ts";

export interface UnpackResult {
  /** The names of the weights that were quantised. */
  readonly unpacked: readonly string[];
  /** The bytes of the weight files before and after, headers included. */
  readonly bytes: { readonly quantized: number; readonly written: number };
}

export interface UnpackOptions extends Pick<CompleteOptions, "signal" | "progress"> {
  /** Whether the folder may contain files. A checkpoint in it is replaced. @default false */
  readonly overwrite?: boolean;
  /** Returns texts by file name. These files are written instead of being copied from the checkpoint. */
  rewriteFiles?(result: UnpackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Unpacks `source` into `folder`. If it fails, no files remain.
 * @throws {ModelError} if the folder cannot be used (see {@link openCopy}), if the checkpoint is dense or has an unsupported format,
 * or if a tensor of a weight is missing or contradicts another one; the message names the tensor
 */
export async function unpackCheckpoint(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  { overwrite, rewriteFiles, ...options }: UnpackOptions = {},
): Promise<UnpackResult> {
  const dense = await openDense(source);
  if (dense === source) throw new ModelError(`${source.folder}: has no quantised weights`);
  const plan = planLayout(dense, fs, {
    tensorsOf: ({ header }) => header.tensors,
    tensors: dense,
    config: dense.config,
  });
  const result: UnpackResult = {
    unpacked: [...dense.names()].filter((name) =>
      !source.has(name) || source.info(name).dtype !== dense.info(name).dtype
    ),
    bytes: {
      quantized: countWeightFileBytes(source.shards),
      written: countWeightFileBytes(plan.weightFiles),
    },
  };
  const extras = await rewriteFiles?.(result) ?? new Map();
  const copy = await openCopy(plan, folder, fs, { overwrite, extraFiles: [...extras.keys()] });
  try {
    const complete = await copy.complete({ ...options, makeExtras: () => Promise.resolve(extras) });
    await complete.publish();
  } catch (error) {
    await copy.abort();
    throw error;
  }
  return result;
}
