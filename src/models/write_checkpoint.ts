/**
 * Writes a pruned copy of a checkpoint: the same files and the same layout of every shard, with some tensors
 * replaced. A replaced tensor has the dtype and the shape of the original, so headers stay as they are and it goes
 * straight to its place in the new shard when it arrives; what was not replaced is copied at the end. Nothing is
 * held in memory but one tensor or one piece.
 *
 * Every file is written under a temporary name and renamed when all are on the disk, config.json last, so that
 * an interrupted copy never looks like a checkpoint. Weights in formats Pare does not read are left behind:
 * dense weights beside pruned ones would be a trap.
 */

import type { HostTensor } from "../tensor/host_tensor.ts";
import { type Checkpoint, CONFIG_FILE } from "./checkpoint.ts";
import { ModelError } from "./error.ts";
import type { FileSystem, ReadableFile, WritableFile } from "./file_system.ts";
import { asReplacement } from "./replacement.ts";
import { INDEX_FILE, type Shard, WEIGHTS_FILE } from "./shards.ts";

/** Added to a file's name while it is not complete. */
const TEMPORARY_SUFFIX = ".partial";

/** Bytes copied at a time. */
const PIECE_BYTES = 16 << 20;

/** Weight files and their indexes, in the formats of every framework transformers writes. */
const WEIGHT_FILE = /\.(safetensors|bin|pt|pth|h5|msgpack|ot|onnx|gguf)(\.index\.json)?$/;

/** How a copy is made. */
export interface WriteOptions {
  /** Replace a checkpoint already in the folder; otherwise a folder that is not empty is refused. */
  readonly overwrite?: boolean;
}

/**
 * Begins a copy of `checkpoint` in `folder`, which is made if need be. The checkpoint must stay open until the end.
 * @throws {ModelError} the folder has files and `overwrite` is not set, or is the checkpoint's own
 */
export async function writeCheckpoint(
  checkpoint: Checkpoint,
  folder: string,
  fs: FileSystem,
  options: WriteOptions = {},
): Promise<CheckpointWriter> {
  const files = await fs.list(folder);
  if (!files) await fs.makeFolder(folder);
  if (await fs.realPath(folder) === await fs.realPath(checkpoint.folder)) {
    throw new ModelError(`${folder}: is the checkpoint itself; write to another folder`);
  }
  if (files && files.length > 0 && !options.overwrite) {
    throw new ModelError(`${folder}: is not empty; choose another folder, or say that it may be overwritten`);
  }
  return new CheckpointWriter(checkpoint, folder, fs);
}

/** A copy being written. End it with `finish`, or with `abort` if anything failed. */
export class CheckpointWriter {
  readonly #checkpoint: Checkpoint;
  readonly #folder: string;
  readonly #fs: FileSystem;
  readonly #replaced = new Set<string>();
  /** By final name. Promises, so that two replacements in one shard make it once. */
  readonly #files = new Map<string, Promise<WritableFile>>();

  /** Use {@link writeCheckpoint}. */
  constructor(checkpoint: Checkpoint, folder: string, fs: FileSystem) {
    this.#checkpoint = checkpoint;
    this.#folder = folder;
    this.#fs = fs;
  }

  /**
   * Writes `tensor` in the place of `name`, converted to the dtype it has there. Done twice, the last one stays.
   * @throws {ModelError} no such tensor
   * @throws {RangeError} another shape, or a dtype that cannot be converted
   */
  async replace(name: string, tensor: HostTensor): Promise<void> {
    const { data } = asReplacement(this.#checkpoint, name, tensor);
    const { shard, byteOffset } = this.#checkpoint.locate(name);
    const file = await this.#create(shard.name);
    await file.write(byteOffset, data);
    this.#replaced.add(name);
  }

  /** Copies what was not replaced and gives every file its name. Nothing can be replaced after it. */
  async finish(): Promise<void> {
    for (const shard of this.#checkpoint.shards) await this.#completeShard(shard);
    for (const name of this.#checkpoint.files) if (this.#isCopied(name)) await this.#copyFile(name);
    for (const file of await Promise.all(this.#files.values())) {
      await file.sync();
      await file.close();
    }
    await this.#removeOld();
    const names = [...this.#files.keys()].filter((name) => name !== CONFIG_FILE);
    for (const name of [...names, CONFIG_FILE]) {
      await this.#fs.rename(this.#temporary(name), `${this.#folder}/${name}`);
      this.#files.delete(name);
    }
  }

  /** Removes what was written so far; the folder stays. */
  async abort(): Promise<void> {
    for (const [name, created] of this.#files) {
      const file = await created.catch(() => undefined);
      if (!file) continue; // it was never made: whoever asked for it has been told
      await file.close();
      await this.#fs.remove(this.#temporary(name));
    }
    this.#files.clear();
  }

  async #completeShard({ name, file, header }: Shard): Promise<void> {
    const target = await this.#create(name);
    let position = 0; // in the file: everything before it is written
    for (const tensor of header.tensors) {
      if (!this.#replaced.has(tensor.name)) continue;
      await copyBytes(file, target, position, header.headerBytes + tensor.begin);
      position = header.headerBytes + tensor.end;
    }
    await copyBytes(file, target, position, file.byteLength);
  }

  async #copyFile(name: string): Promise<void> {
    const source = await this.#fs.open(`${this.#checkpoint.folder}/${name}`);
    try {
      await copyBytes(source, await this.#create(name), 0, source.byteLength);
    } finally {
      await source.close();
    }
  }

  /** Whether a file beside the shards belongs to the copy. */
  #isCopied(name: string): boolean {
    if (name === INDEX_FILE) return this.#checkpoint.shards[0]?.name !== WEIGHTS_FILE;
    return !WEIGHT_FILE.test(name) && !name.endsWith(TEMPORARY_SUFFIX);
  }

  /** Of a checkpoint being overwritten: what makes it one, and weights that a loader might prefer to the new ones. */
  async #removeOld(): Promise<void> {
    for (const name of await this.#fs.list(this.#folder) ?? []) {
      const isStale = WEIGHT_FILE.test(name) && !this.#files.has(name);
      if (name === CONFIG_FILE || isStale) await this.#fs.remove(`${this.#folder}/${name}`);
    }
  }

  #create(name: string): Promise<WritableFile> {
    let file = this.#files.get(name);
    if (!file) this.#files.set(name, file = this.#fs.create(this.#temporary(name)));
    return file;
  }

  #temporary(name: string): string {
    return `${this.#folder}/${name}${TEMPORARY_SUFFIX}`;
  }
}

/** Copies bytes `begin` … `end − 1` to the same place in `target`. */
async function copyBytes(
  source: ReadableFile,
  target: WritableFile,
  begin: number,
  end: number,
): Promise<void> {
  for (let at = begin; at < end; at += PIECE_BYTES) {
    await target.write(at, await source.read(at, Math.min(PIECE_BYTES, end - at)));
  }
}
