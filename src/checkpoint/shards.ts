/**
 * The weight files of a checkpoint folder, opened, with the headers that a safetensors copy of them has, whatever format they are
 * in. Which files they are is for `weight_files.ts`. No tensor data is read.
 */

import { SafetensorsError } from "../safetensors/error.ts";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem, ReadableFile } from "../files/file_system.ts";
import { readBytes } from "../files/json_file.ts";
import type { Shard } from "./shard.ts";
import { safetensorsShard } from "./safetensors_shard.ts";
import { torchShard } from "./torch/torch_shard.ts";
import { findWeights, INDEX_FILE, shardNames, WEIGHT_FORMATS, WEIGHTS_FILE } from "./weight_files.ts";

export { INDEX_FILE, WEIGHTS_FILE };

/** The weights of a checkpoint. */
export interface Weights {
  readonly shards: readonly Shard[];
  /** The file {@link INDEX_FILE} of a copy; undefined where there is none, since the weights are one file. */
  indexFile(): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/**
 * Opens the weights in `folder`, which holds `files`.
 * @throws {ModelError} there are none, a file is missing, or one cannot be read
 */
export async function openWeights(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
): Promise<Weights> {
  const found = findWeights(files);
  if (!found) {
    const names = WEIGHT_FORMATS.flatMap(({ weights, index }) => [weights, index]);
    throw new ModelError(`${folder}: has none of ${names.join(", ")}`);
  }
  const { format, isSharded } = found;
  const names = isSharded ? await shardNames(fs, folder, files, format.index) : [format.weights];
  const shards = await openShards(
    fs,
    folder,
    names,
    format.weights === WEIGHTS_FILE ? safetensorsShard : torchShard,
  );
  const indexFile = async () => {
    if (!isSharded) return undefined;
    return format.index === INDEX_FILE ? await readBytes(fs, `${folder}/${INDEX_FILE}`) : makeIndex(shards);
  };
  return { shards, indexFile };
}

/** Reads where the tensors of one file lie. */
type ShardReader = (name: string, file: ReadableFile) => Promise<Shard>;

async function openShards(
  fs: FileSystem,
  folder: string,
  names: readonly string[],
  read: ShardReader,
): Promise<Shard[]> {
  const shards: Shard[] = [];
  try {
    for (const name of names) {
      const shard = await openShard(fs, folder, name, read);
      const isTaken = shards.some((earlier) => earlier.name === shard.name);
      shards.push(shard);
      if (isTaken) {
        throw new ModelError(`${folder}: two weight files would be called ${shard.name} in a copy`);
      }
    }
  } catch (error) {
    for (const shard of shards) await shard.file.close();
    throw error;
  }
  return shards;
}

async function openShard(fs: FileSystem, folder: string, name: string, read: ShardReader): Promise<Shard> {
  const file = await fs.open(`${folder}/${name}`);
  try {
    return await read(name, file);
  } catch (cause) {
    await file.close();
    if (!(cause instanceof SafetensorsError || cause instanceof ModelError)) throw cause;
    throw new ModelError(`${folder}/${name}: ${cause.message}`, { cause });
  }
}

function makeIndex(shards: readonly Shard[]): Uint8Array<ArrayBuffer> {
  const places = shards.flatMap(({ name, header }) => header.tensors.map((tensor) => [tensor.name, name]));
  const total_size = shards.reduce((sum, { header }) => sum + header.dataBytes, 0);
  const index = { metadata: { total_size }, weight_map: Object.fromEntries(places.sort()) };
  return new TextEncoder().encode(JSON.stringify(index, undefined, 2) + "\n");
}
