/**
 * Unpacks a checkpoint that Pare or the compressed-tensors library packed, in a sparse layout or in the layout
 * `pack-quantized`: writes a dense copy of it. Tensors that are not packed stay the same, bit for bit. So do
 * the other files, except config.json. The weights of a quantised checkpoint become the values that their codes
 * stand for.
 */

import { type Checkpoint, CONFIG_FILE, countWeightFileBytes } from "../checkpoint.ts";
import { formatJson } from "../../files/whole_file.ts";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { isPackQuantized } from "../quantized/config.ts";
import { openDequantized } from "../quantized/dequantized_source.ts";
import { quantizedNames } from "../quantized/layout.ts";
import { stemOfQuantizedPart } from "../quantized/quantized_parts.ts";
import { FolderWriter, writeFolder } from "./folder_writer.ts";
import {
  makeDenseConfig,
  type PackFormat,
  PART_SUFFIXES,
  partNames,
  readPackFormat,
  WEIGHT_SUFFIX,
} from "./format.ts";
import { readPackedParts, stemOfPart } from "./packed_parts.ts";
import {
  copiedEntry,
  type RewriteOptions,
  type ShardEntry,
  type ShardPlan,
  writeShards,
} from "./rewrite_shards.ts";
import { unpackedEntry } from "./unpacked_entry.ts";

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
    await writer.writeText(CONFIG_FILE, formatJson(makeDenseConfig(source.config)));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyOtherFiles(source);
    return result;
  });
}

/** Plans the new weight files. @throws {ModelError} as {@link unpackCheckpoint} */
async function planDense(source: Checkpoint): Promise<ShardPlan[]> {
  if (isPackQuantized(source.config)) return await planDequantized(source);
  const format = readPackFormat(source.config);
  if (!format) throw new ModelError(`${source.folder}: is not packed`);
  return await planSparse(source, format);
}

/** Plans the new weight files of a quantised checkpoint. A weight goes to the shard that holds its codes. */
async function planDequantized(source: Checkpoint): Promise<ShardPlan[]> {
  const dense = await openDequantized(source);
  return source.shards.map((shard) => ({
    shard,
    entries: shard.header.tensors.flatMap(({ name }) => {
      const stem = stemOfQuantizedPart(name);
      if (stem === undefined) return copiedEntry(source, name);
      return name === quantizedNames(stem).packed ? copiedEntry(dense, stem + WEIGHT_SUFFIX) : [];
    }),
  }));
}

/**
 * Plans the new weight files of a sparse checkpoint. A weight goes to the shard that holds its part `compressed`. The library may have put its other
 * parts into other shards.
 */
async function planSparse(source: Checkpoint, format: PackFormat): Promise<ShardPlan[]> {
  const plans: ShardPlan[] = [];
  for (const shard of source.shards) {
    const entries: ShardEntry[] = [];
    for (const { name } of shard.header.tensors) {
      const stem = stemOfPart(name);
      if (stem === undefined) entries.push(copiedEntry(source, name));
      else if (name.endsWith(PART_SUFFIXES.compressed)) {
        entries.push(unpackedEntry(source, await readPackedParts(source, stem, format)));
      } else source.info(partNames(stem).compressed); // throws if the weight has no part `compressed`
    }
    plans.push({ shard, entries });
  }
  return plans;
}
