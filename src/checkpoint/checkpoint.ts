/**
 * A Hugging Face checkpoint folder, read lazily: the configuration and the headers of the weight files when it
 * is opened, a tensor's bytes when they are asked for. What the tensors mean is for `families`.
 */

import { isObject } from "../safetensors/header_json.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem } from "../files/file_system.ts";
import { readJson } from "../files/json_file.ts";
import { nearestName } from "./nearest_name.ts";
import { openWeights, type Weights } from "./shards.ts";
import type { Shard } from "./shard.ts";
import { readTensor, type TensorSource } from "./tensor_source.ts";

/** Holds what makes a model of the weights. */
export const CONFIG_FILE = "config.json";

/** Where a tensor lies. */
export interface TensorPlace {
  readonly shard: Shard;
  readonly info: TensorInfo;
  /** Offset of its first byte in the shard's copy. */
  readonly byteOffset: number;
}

/** An open checkpoint. Close it when done. */
export class Checkpoint implements TensorSource {
  readonly #places = new Map<string, TensorPlace>();

  /** Use {@link openCheckpoint}. */
  constructor(
    readonly folder: string,
    /** Every file in the folder. */
    readonly files: readonly string[],
    /** The object in config.json, not yet validated. */
    readonly config: Readonly<Record<string, unknown>>,
    readonly weights: Weights,
  ) {
    for (const shard of this.shards) {
      for (const info of shard.header.tensors) this.#place(shard, info);
    }
  }

  #place(shard: Shard, info: TensorInfo): void {
    const earlier = this.#places.get(info.name);
    if (earlier) {
      throw new ModelError(`${this.folder}: ${earlier.shard.name} and ${shard.name} both hold ${info.name}`);
    }
    this.#places.set(info.name, { shard, info, byteOffset: shard.header.headerBytes + info.begin });
  }

  get shards(): readonly Shard[] {
    return this.weights.shards;
  }

  /** The file `model.safetensors.index.json` of a copy; undefined where the weights are one file. */
  indexFile(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.weights.indexFile();
  }

  /** The names of its tensors, shard by shard, in file order. */
  names(): IterableIterator<string> {
    return this.#places.keys();
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  info(name: string): TensorInfo {
    return this.locate(name).info;
  }

  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const { shard, info } = this.locate(name);
    return shard.file.read(shard.position(info) + byteOffset, byteLength);
  }

  /** The whole of a tensor. @throws {ModelError} no such tensor: names the nearest */
  tensor(name: string): Promise<HostTensor> {
    return readTensor(this, name);
  }

  /** Where a tensor lies. @throws {ModelError} no such tensor: names the nearest */
  locate(name: string): TensorPlace {
    const place = this.#places.get(name);
    if (place) return place;
    const nearest = nearestName(name, this.names());
    const hint = nearest === undefined ? "none of its names is near" : `the nearest is ${nearest}`;
    throw new ModelError(`${this.folder}: has no tensor ${name}; ${hint}`);
  }

  /** Closes its files. */
  async close(): Promise<void> {
    for (const shard of this.shards) await shard.file.close();
  }
}

/**
 * Opens the checkpoint in `folder`.
 * @throws {ModelError} a file is missing, malformed or in a format that is not read
 */
export async function openCheckpoint(folder: string, fs: FileSystem): Promise<Checkpoint> {
  const files = await fs.list(folder);
  if (!files) throw new ModelError(`${folder}: there is no such folder`);
  if (!files.includes(CONFIG_FILE)) throw new ModelError(`${folder}: has no ${CONFIG_FILE}`);
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
