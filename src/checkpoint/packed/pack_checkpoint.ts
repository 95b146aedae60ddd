/**
 * Packs a pruned checkpoint: writes a copy in which every pruned weight is stored as a bitmask and its
 * non-zero entries. Packing is lossless. Every non-zero entry, every other tensor and every other file except
 * config.json stays the same, bit for bit. At most one strip of a weight, which is a range of whole rows, is
 * in memory at a time.
 */

import { type Checkpoint, countWeightFileBytes } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { elementCount } from "../../tensor/shape.ts";
import { isPackQuantized } from "../quantized/config.ts";
import { FolderWriter, writeFolder } from "./folder_writer.ts";
import { makePackedConfig, type PackFormat, readPackFormat } from "./format.ts";
import { packedEntry } from "./packed_entry.ts";
import { copiedEntry, type RewriteOptions, type ShardPlan, writeShards } from "./rewrite_shards.ts";
import { findPackableWeights, type PackableWeight } from "./find_packable_weights.ts";

/** The result of packing a checkpoint. */
export interface PackResult {
  /** The names of the packed weights. */
  readonly packed: readonly string[];
  /** The bytes of the weight files before and after, headers included. */
  readonly bytes: { readonly dense: number; readonly written: number };
}

/** Options of {@link packCheckpoint}. */
export interface PackOptions extends RewriteOptions {
  readonly format: PackFormat;
  /** The names of the weights to pack. By default, every 2-D weight that becomes smaller is packed. */
  readonly weights?: readonly string[];
  /**
   * Whether the folder may contain files. A checkpoint in it is replaced.
   * @default false
   */
  readonly overwrite?: boolean;
  /** Returns texts by file name. These files are written instead of being copied from the checkpoint. */
  rewriteFiles?(result: PackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Packs `source` into `folder`. If it fails, no files remain.
 *
 * @throws {ModelError} if the folder cannot be used (see {@link FolderWriter.open}), if the checkpoint is already packed or
 * quantised, if no weight becomes smaller, or if a weight in `options.weights` does not fit the format
 */
export async function packCheckpoint(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: PackOptions,
): Promise<PackResult> {
  const { format, overwrite = false } = options;
  if (isPackQuantized(source.config)) {
    throw new ModelError(
      `${source.folder}: is quantised: \`pare unpack\` writes a dense copy, which can be packed`,
    );
  }
  if (readPackFormat(source.config)) throw new ModelError(`${source.folder}: is packed already`);
  const weights = await findPackableWeights(source, options);
  const writer = await FolderWriter.open(fs, folder, source, overwrite);
  return await writeFolder(writer, async () => {
    const result: PackResult = {
      packed: weights.map(({ name }) => name),
      bytes: {
        dense: countWeightFileBytes(source),
        written: await writeShards(planShards(source, weights, format), writer, options),
      },
    };
    const sparsity = fractionOfZeros(source, weights);
    const description = { format, weights: result.packed, sparsity };
    await writer.writeConfig(source, makePackedConfig(source.config, description));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyOtherFiles(source);
    return result;
  });
}

function planShards(
  source: Checkpoint,
  weights: readonly PackableWeight[],
  format: PackFormat,
): ShardPlan[] {
  const packable = new Map(weights.map((weight) => [weight.name, weight]));
  return source.shards.map((shard) => ({
    shard,
    entries: shard.header.tensors.map(({ name }) => {
      const weight = packable.get(name);
      return weight ? packedEntry(source, weight, format) : copiedEntry(source, name);
    }),
  }));
}

function fractionOfZeros(source: Checkpoint, weights: readonly PackableWeight[]): number {
  const entries = weights.reduce((sum, { name }) => sum + elementCount(source.info(name).shape), 0);
  return 1 - weights.reduce((sum, { nonZeros }) => sum + nonZeros, 0) / entries;
}
