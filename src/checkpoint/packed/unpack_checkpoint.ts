/**
 * Writes a packed checkpoint dense again, as everything else reads it: files that `pack_checkpoint.ts` wrote, or
 * the compressed-tensors library. Tensors that are not packed and other files stay bit for bit what they were.
 */

import { type Checkpoint, CONFIG_FILE } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { FolderWriter, writeFolder } from "./folder_writer.ts";
import { describeDense, packedFormat, type PackFormat, PART_SUFFIXES, partNames } from "./format.ts";
import { packedParts, stemOfPart } from "./packed_parts.ts";
import {
  copied,
  type Entry,
  type RewriteOptions,
  type ShardPlan,
  toJson,
  writeShards,
} from "./rewrite_shards.ts";
import { unpackedWeight } from "./unpacked_weight.ts";
import { weightFileBytes } from "./weight_file_bytes.ts";

/** What became of a packed checkpoint. */
export interface UnpackResult {
  /** The names of the weights that were packed. */
  readonly unpacked: readonly string[];
  /** Bytes of the weight files, headers included. */
  readonly bytes: { readonly packed: number; readonly written: number };
}

/** How to unpack. */
export interface UnpackOptions extends RewriteOptions {
  /** Replace a checkpoint already in the folder; otherwise a folder that is not empty is refused. */
  readonly overwrite?: boolean;
  /** Texts, by name, of files that do not stay as they are. */
  rewriteFiles?(result: UnpackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Unpacks `source` into `folder`. On failure nothing is left behind.
 * @throws {ModelError} the folder cannot be used (see {@link FolderWriter.open}), the checkpoint is not packed in a
 * format Pare reads, or a part of a weight is missing or contradicts another: the message names it
 */
export async function unpackCheckpoint(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  const format = packedFormat(source.config);
  if (!format) throw new ModelError(`${source.folder}: is not packed`);
  const plans = await plan(source, format);
  const writer = await FolderWriter.open(fs, folder, source, options.overwrite ?? false);
  return await writeFolder(writer, async () => {
    const written = await writeShards(plans, writer, options);
    const result: UnpackResult = {
      unpacked: plans.flatMap(({ entries }) => entries.map(({ name }) => name)).filter((name) =>
        !source.has(name)
      ),
      bytes: { packed: weightFileBytes(source), written },
    };
    await writer.writeText(CONFIG_FILE, toJson(describeDense(source.config)));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyRest(source);
    return result;
  });
}

/** A weight goes to the shard its kept entries are in; the library may have put its other parts elsewhere. */
async function plan(source: Checkpoint, format: PackFormat): Promise<ShardPlan[]> {
  const plans: ShardPlan[] = [];
  for (const shard of source.shards) {
    const entries: Entry[] = [];
    for (const { name } of shard.header.tensors) {
      const stem = stemOfPart(name);
      if (stem === undefined) entries.push(copied(source, name));
      else if (name.endsWith(PART_SUFFIXES.compressed)) {
        entries.push(unpackedWeight(source, await packedParts(source, stem, format)));
      } else source.info(partNames(stem).compressed); // throws where it is missing
    }
    plans.push({ shard, entries });
  }
  return plans;
}
