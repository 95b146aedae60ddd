/**
 * Unpacks a checkpoint in the layout `pack-quantized`, which Pare or the compressed-tensors library wrote: writes a dense copy of it. Tensors that are not packed stay the same, bit for bit. So do
 * the other files, except config.json. The weights of a quantised checkpoint become the values that their codes
 * stand for.
 */

import { type Checkpoint, countWeightFileBytes } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { FolderWriter, writeFolder } from "./folder_writer.ts";
import { makeDenseConfig, weightFormat } from "../quantized/config.ts";
import { planDense } from "./plan_dense.ts";
import { type RewriteOptions, writeShards } from "./rewrite_shards.ts";

/** The result of unpacking a checkpoint. */
export interface UnpackResult {
  /** The names of the weights that were packed. */
  readonly unpacked: readonly string[];
  /** The bytes of the weight files before and after, headers included. */
  readonly bytes: { readonly packed: number; readonly written: number };
}

/** Options of {@link unpackCheckpoint}. */
export interface UnpackOptions extends RewriteOptions {
  /**
   * Whether the folder may contain files. A checkpoint in it is replaced.
   * @default false
   */
  readonly overwrite?: boolean;
  /** Returns texts by file name. These files are written instead of being copied from the checkpoint. */
  rewriteFiles?(result: UnpackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Unpacks `source` into `folder`. If it fails, no files remain.
 *
 * @throws {ModelError} if the folder cannot be used (see {@link FolderWriter.open}), if the checkpoint is not packed or has an
 * unsupported layout, or if a part of a weight is missing or contradicts another part; the message names the part
 */
export async function unpackCheckpoint(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  if (weightFormat(source) === "dense") throw new ModelError(`${source.folder}: is not packed`);
  const plans = await planDense(source);
  const writer = await FolderWriter.open(fs, folder, source, options.overwrite ?? false);
  return await writeFolder(writer, async () => {
    const written = await writeShards(plans, writer, options);
    const result: UnpackResult = {
      unpacked: plans.flatMap(({ entries }) => entries.map(({ name }) => name)).filter((name) =>
        !source.has(name)
      ),
      bytes: { packed: countWeightFileBytes(source), written },
    };
    await writer.writeConfig(source, makeDenseConfig(source.config));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyOtherFiles(source);
    return result;
  });
}
