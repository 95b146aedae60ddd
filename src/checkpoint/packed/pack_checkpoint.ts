/**
 * Writes a copy of a checkpoint in which pruned weights take only the room of what is kept. Every kept entry is bit
 * for bit what it was, and so is every other tensor and file. Nothing is held in memory but a piece of a weight.
 */

import { type Checkpoint, CONFIG_FILE } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { elementCount } from "../../tensor/shape.ts";
import { FolderWriter, writeFolder } from "./folder_writer.ts";
import { describePacked, packedFormat, type PackFormat } from "./format.ts";
import { packedWeight } from "./packed_weight.ts";
import { copied, type RewriteOptions, toJson, writeShards } from "./rewrite_shards.ts";
import { type PackableWeight, surveyWeights } from "./survey.ts";
import { weightFileBytes } from "./weight_file_bytes.ts";

/** What became of a checkpoint. */
export interface PackResult {
  /** The names of the packed weights. */
  readonly packed: readonly string[];
  /** Bytes of the weight files, headers included. */
  readonly bytes: { readonly dense: number; readonly written: number };
}

/** How to pack. */
export interface PackOptions extends RewriteOptions {
  readonly format: PackFormat;
  /** The weights to pack; without it, every 2-D weight that becomes smaller. */
  readonly weights?: readonly string[];
  /** Replace a checkpoint already in the folder; otherwise a folder that is not empty is refused. */
  readonly overwrite?: boolean;
  /** Texts, by name, of files that do not stay as they are. */
  rewriteFiles?(result: PackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Packs `source` into `folder`. On failure nothing is left behind.
 * @throws {ModelError} the folder cannot be used (see {@link FolderWriter.open}), the checkpoint is packed or
 * quantised already, no weight becomes smaller, or one asked for does not fit the format
 */
export async function packCheckpoint(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: PackOptions,
): Promise<PackResult> {
  const { format, overwrite = false } = options;
  if (packedFormat(source.config)) throw new ModelError(`${source.folder}: is packed already`);
  const weights = await surveyWeights(source, options);
  const writer = await FolderWriter.open(fs, folder, source, overwrite);
  return await writeFolder(writer, async () => {
    const result: PackResult = {
      packed: weights.map(({ name }) => name),
      bytes: {
        dense: weightFileBytes(source),
        written: await writeShards(plan(source, weights, format), writer, options),
      },
    };
    const sparsity = shareOfZeros(source, weights);
    const description = { format, weights: result.packed, sparsity };
    await writer.writeText(CONFIG_FILE, toJson(describePacked(source.config, description)));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyRest(source);
    return result;
  });
}

function plan(source: Checkpoint, weights: readonly PackableWeight[], format: PackFormat) {
  const packable = new Map(weights.map((weight) => [weight.name, weight]));
  return source.shards.map((shard) => ({
    shard,
    entries: shard.header.tensors.map(({ name }) => {
      const weight = packable.get(name);
      return weight ? packedWeight(source, weight, format) : copied(source, name);
    }),
  }));
}

function shareOfZeros(source: Checkpoint, weights: readonly PackableWeight[]): number {
  const entries = weights.reduce((sum, { name }) => sum + elementCount(source.info(name).shape), 0);
  return 1 - weights.reduce((sum, { nonZeros }) => sum + nonZeros, 0) / entries;
}
