/**
 * The safetensors files of a checkpoint folder: which there are, and their headers. `model.safetensors` is
 * preferred over an index with shards, as transformers does. No tensor data is read.
 */

import { SafetensorsError } from "../safetensors/error.ts";
import {
  LENGTH_BYTES,
  MAX_CHECKPOINT_HEADER_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from "../safetensors/header.ts";
import { z } from "zod";
import { ModelError } from "./error.ts";
import type { FileSystem, ReadableFile } from "./file_system.ts";
import { readJson } from "./json_file.ts";

/** The one weight file of an unsharded checkpoint. */
export const WEIGHTS_FILE = "model.safetensors";
/** Says which shard holds each tensor. */
export const INDEX_FILE = "model.safetensors.index.json";

/** One open weight file. */
export interface Shard {
  /** Its name in the folder. */
  readonly name: string;
  readonly file: ReadableFile;
  readonly header: SafetensorsHeader;
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/**
 * Opens the weight files of `folder`, which holds `files`.
 * @throws {ModelError} there are none, one is missing, or one is not a safetensors file
 */
export async function openShards(fs: FileSystem, folder: string, files: readonly string[]): Promise<Shard[]> {
  const names = await shardNames(fs, folder, files);
  const shards: Shard[] = [];
  try {
    for (const name of names) shards.push(await openShard(fs, folder, name));
  } catch (error) {
    for (const shard of shards) await shard.file.close();
    throw error;
  }
  return shards;
}

async function shardNames(fs: FileSystem, folder: string, files: readonly string[]): Promise<string[]> {
  if (files.includes(WEIGHTS_FILE)) return [WEIGHTS_FILE];
  if (!files.includes(INDEX_FILE)) throw noWeights(folder, files);
  const index = indexSchema.safeParse(await readJson(fs, `${folder}/${INDEX_FILE}`));
  if (!index.success) throw new ModelError(`${folder}/${INDEX_FILE}: ${z.prettifyError(index.error)}`);
  const names = [...new Set(Object.values(index.data.weight_map))].sort();
  for (const name of names) {
    if (!files.includes(name)) {
      throw new ModelError(`${folder}: ${INDEX_FILE} names the shard ${name}, which is not there`);
    }
  }
  return names;
}

function noWeights(folder: string, files: readonly string[]): ModelError {
  const pickled = files.find((name) => /^pytorch_model.*\.bin/.test(name));
  if (!pickled) return new ModelError(`${folder}: has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`);
  return new ModelError(
    `${folder}: has its weights only in PyTorch's pickle format (${pickled}), which is not supported yet. Convert it with ` +
      `transformers: AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto").save_pretrained(new_folder), ` +
      `which writes ${WEIGHTS_FILE}`,
  );
}

async function openShard(fs: FileSystem, folder: string, name: string): Promise<Shard> {
  const file = await fs.open(`${folder}/${name}`);
  try {
    return { name, file, header: await readHeader(file) };
  } catch (cause) {
    await file.close();
    if (!(cause instanceof SafetensorsError)) throw cause;
    throw new ModelError(`${folder}/${name}: ${cause.message}`, { cause });
  }
}

async function readHeader(file: ReadableFile): Promise<SafetensorsHeader> {
  checkReached(file, LENGTH_BYTES);
  const jsonBytes = parseHeaderLength(await file.read(0, LENGTH_BYTES), MAX_CHECKPOINT_HEADER_BYTES);
  const headerBytes = LENGTH_BYTES + jsonBytes;
  checkReached(file, headerBytes);
  return parseHeader(await file.read(LENGTH_BYTES, jsonBytes), file.byteLength - headerBytes);
}

function checkReached({ byteLength }: ReadableFile, needed: number): void {
  if (byteLength >= needed) return;
  throw new SafetensorsError(
    "truncated",
    `safetensors header: file ends at byte ${byteLength} but needs ${needed}`,
    { byte: byteLength },
  );
}
