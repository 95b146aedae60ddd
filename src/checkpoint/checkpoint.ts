/**
 * Opens a checkpoint: a folder in the Hugging Face format that holds a model's configuration (config.json)
 * and its weights. Opening reads the configuration and the headers of the weight files, which are called
 * shards. The bytes of a tensor are read when a caller asks for them. This file treats weights as named
 * tensors. The roles of the tensors in the network are defined in `src/models/families/`.
 */

import { isObject } from "../safetensors/header_json.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem } from "../files/file_system.ts";
import { readJson } from "../files/whole_file.ts";
import { nearestName } from "./nearest_name.ts";
import { openWeights, type Weights } from "./open_weights.ts";
import { requireOwnFiles } from "./require_own_files.ts";
import type { Shard } from "./shard.ts";
import { readTensor, type TensorSource } from "./tensor_source.ts";

/** The file with the configuration. Loaders accept a folder as a checkpoint only if it has this file. */
export const CONFIG_FILE = "config.json";

/** The position of a tensor in a checkpoint. */
export interface TensorLocation {
  readonly shard: Shard;
  readonly info: TensorInfo;
  /** The offset of the tensor's first byte in the safetensors copy of the shard. */
  readonly byteOffset: number;
}

/** An open checkpoint. The caller must close it. */
export class Checkpoint implements TensorSource {
  /** The tensors by name. */
  readonly #locations = new Map<string, TensorLocation>();

  /** Use {@link openCheckpoint}. */
  constructor(
    readonly folder: string,
    /** The names of all files in the folder. */
    readonly files: readonly string[],
    /** The parsed content of config.json, not validated. */
    readonly config: Readonly<Record<string, unknown>>,
    readonly weights: Weights,
  ) {
    for (const shard of this.shards) {
      for (const info of shard.header.tensors) this.#addTensor(shard, info);
    }
  }

  #addTensor(shard: Shard, info: TensorInfo): void {
    const earlier = this.#locations.get(info.name);
    if (earlier) {
      throw new ModelError(`${this.folder}: ${earlier.shard.name} and ${shard.name} both hold ${info.name}`);
    }
    this.#locations.set(info.name, { shard, info, byteOffset: shard.header.headerBytes + info.begin });
  }

  get shards(): readonly Shard[] {
    return this.weights.shards;
  }

  /** Iterates over the names of all tensors, shard by shard, in the order of the files. */
  names(): IterableIterator<string> {
    return this.#locations.keys();
  }

  has(name: string): boolean {
    return this.#locations.has(name);
  }

  info(name: string): TensorInfo {
    return this.locate(name).info;
  }

  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const { shard, info } = this.locate(name);
    return shard.file.read(shard.position(info) + byteOffset, byteLength);
  }

  /** Reads a whole tensor. @throws {ModelError} if there is no such tensor; the message names the most similar one */
  tensor(name: string): Promise<HostTensor> {
    return readTensor(this, name);
  }

  /** Finds a tensor. @throws {ModelError} if there is no such tensor; the message names the most similar one */
  locate(name: string): TensorLocation {
    const location = this.#locations.get(name);
    if (location) return location;
    const nearest = nearestName(name, this.names());
    const hint = nearest === undefined
      ? "none of its tensors has a similar name"
      : `the nearest is ${nearest}`;
    throw new ModelError(`${this.folder}: has no tensor ${name}; ${hint}`);
  }

  /** Closes the weight files. */
  async close(): Promise<void> {
    for (const shard of this.shards) await shard.file.close();
  }
}

/**
 * Opens the checkpoint in `folder`.
 *
 * @throws {ModelError} if a file is missing, malformed or in an unsupported format, or if a link leads out of the folder
 */
export async function openCheckpoint(folder: string, fs: FileSystem): Promise<Checkpoint> {
  const files = await fs.list(folder);
  if (!files) throw new ModelError(`${folder}: there is no such folder`);
  if (!files.includes(CONFIG_FILE)) throw new ModelError(`${folder}: has no ${CONFIG_FILE}`);
  await requireOwnFiles(fs, folder, files);
  const config = await readJson(fs, `${folder}/${CONFIG_FILE}`);
  if (!isObject(config)) throw new ModelError(`${folder}/${CONFIG_FILE}: is not a JSON object`);
  const weights = await openWeights(fs, folder, files);
  try {
    return new Checkpoint(folder, files, config, weights);
  } catch (error) {
    for (const shard of weights.shards) await shard.file.close();
    throw error;
  }
}
