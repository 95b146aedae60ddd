/**
 * Opens a checkpoint. Opening reads config.json and the headers of the weight files. The bytes of a tensor are read when a caller asks for
 * them.
 */

import { isObject } from "../../base/json.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { MAX_JSON_BYTES, parseJsonAt, readText } from "../../base/files/whole_file.ts";
import { listNestedFiles } from "./nested_files.ts";
import { openWeights, type Weights } from "./open_weights.ts";
import type { Shard } from "./weight_files.ts";
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
  readonly #locations = new Map<string, TensorLocation>();

  /** Use {@link openCheckpoint}. */
  constructor(
    readonly folder: string,
    /** The names of all files in the folder, and the paths of the files in its folders. */
    readonly files: readonly string[],
    /** The parsed content of config.json, not validated. If the tensors are a dense view, it describes no quantisation. */
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

  /** The configuration as it is in config.json. It differs from `config` if the tensors are a dense view of quantised weights. */
  get storedConfig(): Readonly<Record<string, unknown>> {
    return this.config;
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

  async close(): Promise<void> {
    for (const shard of this.shards) await shard.file.close();
  }
}

/**
 * Reads the text of config.json. Versions of transformers before 5 write the limit of the steps of Mamba 2 as `Infinity`, which is not JSON.
 * The text has {"__float__": "Infinity"} in its place, which later versions write.
 */
export async function readConfigText(fs: FileSystem, folder: string): Promise<string> {
  const text = await readText(fs, `${folder}/${CONFIG_FILE}`, MAX_JSON_BYTES);
  return text.replace(/("time_step_limit"\s*:\s*\[[^,"\]]*,\s*)Infinity/g, '$1{"__float__": "Infinity"}');
}

/**
 * Opens the checkpoint in `folder`.
 * @throws {ModelError} if a file is missing, malformed or in an unsupported format, or if a link leads out of the folder
 */
export async function openCheckpoint(folder: string, fs: FileSystem): Promise<Checkpoint> {
  const files = await fs.list(folder);
  if (!files) throw new ModelError(`${folder}: there is no such folder`);
  if (!files.includes(CONFIG_FILE)) throw new ModelError(`${folder}: has no ${CONFIG_FILE}`);
  const all = [...files, ...await listNestedFiles(fs, folder, CONFIG_FILE)].sort();
  await requireOwnFiles(fs, folder, all);
  const path = `${folder}/${CONFIG_FILE}`, config = parseJsonAt(await readConfigText(fs, folder), path);
  if (!isObject(config)) throw new ModelError(`${path}: is not a JSON object`);
  const weights = await openWeights(fs, folder, files);
  try {
    return new Checkpoint(folder, all, config, weights);
  } catch (error) {
    for (const shard of weights.shards) await shard.file.close();
    throw error;
  }
}

/** Matches the folder of a commit in the cache of the Hugging Face hub, whose files are links into the folder `blobs` of the model. */
const SNAPSHOT = /^(.*\/models--[^/]+)\/snapshots\/[^/]+$/;

/**
 * Refuses links that lead out of `folder`, except links in the hub's cache to the blobs of the same model. A link may lead to a
 * private file of the user, and most files of a checkpoint are copied into the pruned one, which may be published.
 */
async function requireOwnFiles(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
): Promise<void> {
  const root = withSlashes(await fs.realPath(folder)), model = SNAPSHOT.exec(root)?.[1];
  const allowed = [`${root}/`, ...model === undefined ? [] : [`${model}/blobs/`]];
  for (const name of files) {
    const path = withSlashes(await fs.realPath(`${folder}/${name}`));
    if (allowed.some((place) => path.startsWith(place))) continue;
    throw new ModelError(
      `${folder}/${name}: is a link to ${path}, outside of the folder of the model; replace the link by a copy of the file`,
    );
  }
}

function withSlashes(path: string): string {
  return path.replaceAll("\\", "/");
}

/**
 * The length of the longest candidate that is compared. Only hostile files have longer names, for which the distance would take seconds to
 * compute.
 */
const MAX_LENGTH = 512;

/** Finds the candidate with the smallest edit distance to `name`. Returns undefined if every candidate is too long to be compared. */
function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let minDistance = Infinity;
  for (const candidate of candidates) {
    if (candidate.length > MAX_LENGTH) continue;
    const distance = editDistance(name, candidate);
    if (distance < minDistance) [nearest, minDistance] = [candidate, distance];
  }
  return nearest;
}

/** Computes the Levenshtein distance of two strings: the number of insertions, deletions and substitutions. */
function editDistance(a: string, b: string): number {
  // The dynamic-programming table is computed row by row. Only the current row is stored.
  const row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    let diagonal = row[0];
    row[0] = i;
    for (let j = 1; j <= b.length; j++) {
      const substituted = diagonal + (a[i - 1] === b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = Math.min(substituted, row[j] + 1, row[j - 1] + 1);
    }
  }
  return row[b.length];
}
