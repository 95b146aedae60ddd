/**
 * What the weight files of a checkpoint are called, and which of them a folder's are. Of several forms the first is taken,
 * in transformers' order: `model.safetensors`, its index with shards, `pytorch_model.bin`, its index with shards.
 */

import { z } from "zod";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem } from "../files/file_system.ts";
import { readJson } from "../files/json_file.ts";

/** The one weight file of an unsharded checkpoint. */
export const WEIGHTS_FILE = "model.safetensors";
/** Says which shard holds each tensor. */
export const INDEX_FILE = "model.safetensors.index.json";

/** The names of one format: of the one weight file, and of the index that tells of several. */
export interface WeightFormat {
  readonly weights: string;
  readonly index: string;
}

/** The formats that are read, the preferred one first. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = [
  { weights: WEIGHTS_FILE, index: INDEX_FILE },
  { weights: "pytorch_model.bin", index: "pytorch_model.bin.index.json" },
];

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** The format that the weights among `files` are in; undefined where there are none. */
export function findWeights(
  files: readonly string[],
): { format: WeightFormat; isSharded: boolean } | undefined {
  for (const format of WEIGHT_FORMATS) {
    if (files.includes(format.weights)) return { format, isSharded: false };
    if (files.includes(format.index)) return { format, isSharded: true };
  }
  return undefined;
}

/**
 * The shards that the index in `folder` names, sorted.
 * @throws {ModelError} it is no index, or names a shard that is not among `files`
 */
export async function shardNames(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
  index: string,
): Promise<string[]> {
  const parsed = indexSchema.safeParse(await readJson(fs, `${folder}/${index}`));
  if (!parsed.success) throw new ModelError(`${folder}/${index}: ${z.prettifyError(parsed.error)}`);
  const names = [...new Set(Object.values(parsed.data.weight_map))].sort();
  for (const name of names) {
    if (!files.includes(name)) {
      throw new ModelError(`${folder}: ${index} names the shard ${name}, which is not there`);
    }
  }
  return names;
}
