/**
 * Writes a pruned copy of a checkpoint: the same files and the same layout of every shard, with some tensors
 * replaced. A replaced tensor has the dtype and the shape of the original, so headers stay as they are and it goes
 * straight to its place in the new shard when it arrives; what was not replaced is copied at the end. Nothing is
 * held in memory but one tensor or one piece.
 *
 * Every file is written under a temporary name and renamed when all are on the disk, config.json last, so that
 * an interrupted copy never looks like a checkpoint. Another writer may take the temporary files up where one was killed. Weights
 * in formats Pare does not read are left behind: dense weights beside pruned ones would be a trap.
 */

import type { TensorInfo } from "../safetensors/tensor_info.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { type Checkpoint, CONFIG_FILE } from "./checkpoint.ts";
import { ModelError } from "./error.ts";
import type { EditableFile, FileSystem, WorkFileSystem, WritableFile } from "./file_system.ts";
import { asReplacement } from "./replacement.ts";
import { INDEX_FILE, type Shard } from "./shards.ts";
import { readTensor, type TensorSource } from "./tensor_source.ts";

/** Added to a file's name while it is not complete. */
export const TEMPORARY_SUFFIX = ".partial";

/** Bytes copied at a time. */
const PIECE_BYTES = 16 << 20;

/** Weight files and their indexes, in the formats of every framework transformers writes. */
export const WEIGHT_FILE = /\.(safetensors|bin|pt|pth|h5|msgpack|ot|onnx|gguf)(\.index\.json)?$/;

/** How a copy is made. */
export interface WriteOptions {
  /** Replace a checkpoint already in the folder; otherwise a folder that is not empty is refused. */
  readonly overwrite?: boolean;
  /** What an earlier writer of this very copy had replaced and synced: its temporary files are taken up. */
  readonly replaced?: Iterable<string>;
  /** Files of the copy that are not the checkpoint's; those of these names there are not copied. */
  readonly extras?: readonly string[];
}

/**
 * Begins a copy of `checkpoint` in `folder`, which is made if need be. The checkpoint must stay open until the end.
 * @throws {ModelError} the folder has files and `overwrite` is not set, or is the checkpoint's own
 */
export async function writeCheckpoint(
  checkpoint: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: WriteOptions = {},
): Promise<CheckpointWriter> {
  const isEmpty = await prepareFolder(
    checkpoint,
    folder,
    fs,
    options.overwrite || options.replaced !== undefined,
  );
  const writer = new CheckpointWriter(checkpoint, folder, fs, options);
  if (!isEmpty && !options.replaced) await writer.removeTemporary();
  return writer;
}

/**
 * Makes `folder` if need be, for a copy of `checkpoint`.
 * @returns whether there are no files in it
 * @throws {ModelError} as {@link writeCheckpoint}
 */
export async function prepareFolder(
  checkpoint: Checkpoint,
  folder: string,
  fs: FileSystem,
  mayHaveFiles: boolean,
): Promise<boolean> {
  const files = await fs.list(folder);
  if (!files) await fs.makeFolder(folder);
  if (await fs.realPath(folder) === await fs.realPath(checkpoint.folder)) {
    throw new ModelError(`${folder}: is the checkpoint itself; write to another folder`);
  }
  const isEmpty = !files || files.length === 0;
  if (!isEmpty && !mayHaveFiles) {
    throw new ModelError(`${folder}: is not empty; choose another folder, or say that it may be overwritten`);
  }
  return isEmpty;
}

/** A copy being written. End it with `finish`, or with `abort` or `close` if anything failed. */
export class CheckpointWriter {
  readonly #checkpoint: Checkpoint;
  readonly #folder: string;
  readonly #fs: WorkFileSystem;
  readonly #extras: readonly string[];
  readonly #isTakenUp: boolean;
  readonly #replaced: Set<string>;
  /** By final name. Promises, so that two replacements in one shard open it once. */
  readonly #shards = new Map<string, Promise<EditableFile>>();
  readonly #others: WritableFile[] = [];

  /** Use {@link writeCheckpoint}. */
  constructor(
    checkpoint: Checkpoint,
    folder: string,
    fs: WorkFileSystem,
    { replaced, extras = [] }: WriteOptions,
  ) {
    this.#checkpoint = checkpoint;
    this.#folder = folder;
    this.#fs = fs;
    this.#extras = extras;
    this.#isTakenUp = replaced !== undefined;
    this.#replaced = new Set(replaced);
  }

  /**
   * Writes `tensor` in the place of `name`, converted to the dtype it has there. Done twice, the last one stays.
   * @throws {ModelError} no such tensor
   * @throws {RangeError} another shape, or a dtype that cannot be converted
   */
  async replace(name: string, tensor: HostTensor): Promise<void> {
    const { data } = asReplacement(this.#checkpoint, name, tensor);
    const { shard, byteOffset } = this.#checkpoint.locate(name);
    const file = await this.#shardFile(shard.name);
    await file.write(byteOffset, data);
    this.#replaced.add(name);
  }

  /** Resolves once the replacement of `name` is on the disk: another writer may then be told of it. */
  async sync(name: string): Promise<void> {
    await (await this.#shardFile(this.#checkpoint.locate(name).shard.name)).sync();
    await this.#fs.syncFolder(this.#folder);
  }

  /** What `name` was replaced by, here or by the writer before. @throws {RangeError} it was not */
  async replacement(name: string): Promise<HostTensor> {
    if (!this.#replaced.has(name)) throw new RangeError(`${name}: was not replaced`);
    return await readTensor(this.tensors, name);
  }

  /** The tensors of the copy as they are now, read from the files: replacements where there are any, else the originals. */
  get tensors(): TensorSource {
    const checkpoint = this.#checkpoint;
    return {
      has: (name) => checkpoint.has(name),
      info: (name) => checkpoint.info(name),
      read: async (name, offset, byteLength) => {
        if (!this.#replaced.has(name)) return await checkpoint.read(name, offset, byteLength);
        const { shard, byteOffset } = checkpoint.locate(name);
        return await (await this.#shardFile(shard.name)).read(byteOffset + offset, byteLength);
      },
    };
  }

  /** Copies what was not replaced and gives every file its name. Nothing can be replaced after it. */
  async finish(): Promise<void> {
    await this.complete({});
    await this.publish();
  }

  /**
   * Copies what was not replaced and adds `extras`, by name: then all of the copy is on the disk, under temporary names.
   * May be done again, whatever part of it was done. The signal is checked between pieces.
   */
  async complete(extras: Readonly<Record<string, Uint8Array>>, signal?: AbortSignal): Promise<void> {
    for (const shard of this.#checkpoint.shards) await this.#completeShard(shard, signal);
    const index = await this.#checkpoint.indexFile();
    if (index) await this.#write(INDEX_FILE, index);
    for (const name of this.#checkpoint.files) {
      if (this.#isCopied(name)) await this.#copyFile(name, signal);
    }
    for (const [name, bytes] of Object.entries(extras)) await this.#write(name, bytes);
    for (const file of [...await Promise.all(this.#shards.values()), ...this.#others]) await file.sync();
    await this.close();
    await this.#fs.syncFolder(this.#folder);
  }

  /** Gives every file its name. After `complete`, of this writer or the one before; may be done again. */
  async publish(): Promise<void> {
    const temporary = new Set(await this.#temporaryNames());
    if (!temporary.has(CONFIG_FILE)) return; // the last of them has its name
    await this.#removeOld(await this.#names());
    for (const name of temporary) if (name !== CONFIG_FILE) await this.#rename(name);
    await this.#fs.syncFolder(this.#folder);
    await this.#rename(CONFIG_FILE);
    await this.#fs.syncFolder(this.#folder);
  }

  /** Removes what was written so far; the folder stays. */
  async abort(): Promise<void> {
    await this.close();
    await this.removeTemporary();
  }

  /** Closes the files and leaves them as they are, for another writer to take up. */
  async close(): Promise<void> {
    for (const opened of this.#shards.values()) {
      const file = await opened.catch(() => undefined);
      await file?.close(); // undefined where it was never opened: whoever asked for it has been told
    }
    for (const file of this.#others) await file.close();
    this.#shards.clear();
    this.#others.length = 0;
  }

  /** Removes every temporary file of this copy, whoever wrote it. */
  async removeTemporary(): Promise<void> {
    for (const name of await this.#temporaryNames()) await this.#fs.remove(this.#temporary(name));
  }

  async #completeShard({ name, header, headerBlock }: Shard, signal?: AbortSignal): Promise<void> {
    const target = await this.#shardFile(name);
    await target.write(0, await headerBlock());
    for (const tensor of header.tensors) {
      if (!this.#replaced.has(tensor.name)) {
        await this.#copyTensor(tensor, target, header.headerBytes, signal);
      }
    }
  }

  async #copyTensor(
    { name, begin, end }: TensorInfo,
    target: WritableFile,
    headerBytes: number,
    signal?: AbortSignal,
  ): Promise<void> {
    for (let at = begin; at < end; at += PIECE_BYTES) {
      signal?.throwIfAborted();
      const piece = await this.#checkpoint.read(name, at - begin, Math.min(PIECE_BYTES, end - at));
      await target.write(headerBytes + at, piece);
    }
  }

  async #copyFile(name: string, signal?: AbortSignal): Promise<void> {
    const source = await this.#fs.open(`${this.#checkpoint.folder}/${name}`);
    try {
      const target = await this.#create(name);
      for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
        signal?.throwIfAborted();
        await target.write(at, await source.read(at, Math.min(PIECE_BYTES, source.byteLength - at)));
      }
    } finally {
      await source.close();
    }
  }

  /** Whether a file beside the shards belongs to the copy. */
  #isCopied(name: string): boolean {
    return !WEIGHT_FILE.test(name) && !name.endsWith(TEMPORARY_SUFFIX) && !this.#extras.includes(name);
  }

  /** Every file of the copy. */
  async #names(): Promise<Set<string>> {
    return new Set([
      ...this.#checkpoint.shards.map(({ name }) => name),
      ...await this.#checkpoint.indexFile() ? [INDEX_FILE] : [],
      ...this.#checkpoint.files.filter((name) => this.#isCopied(name)),
      ...this.#extras,
    ]);
  }

  /** The final names of the files of the copy that are there under their temporary ones. */
  async #temporaryNames(): Promise<string[]> {
    const there = new Set(await this.#fs.list(this.#folder));
    return [...await this.#names()].filter((name) => there.has(name + TEMPORARY_SUFFIX));
  }

  /** Of a checkpoint being overwritten: what makes it one, and weights that a loader might prefer to the new ones. */
  async #removeOld(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#fs.list(this.#folder) ?? []) {
      const isStale = WEIGHT_FILE.test(name) && !names.has(name);
      if (name === CONFIG_FILE || isStale) await this.#fs.remove(`${this.#folder}/${name}`);
    }
  }

  #rename(name: string): Promise<void> {
    return this.#fs.rename(this.#temporary(name), `${this.#folder}/${name}`);
  }

  /** A shard's file: one that another writer left is taken up. */
  #shardFile(name: string): Promise<EditableFile> {
    let file = this.#shards.get(name);
    if (!file) this.#shards.set(name, file = this.#openShard(this.#temporary(name)));
    return file;
  }

  async #openShard(path: string): Promise<EditableFile> {
    if (!this.#isTakenUp) await (await this.#fs.create(path)).close();
    return await this.#fs.edit(path);
  }

  /** Another file: always written anew. */
  async #create(name: string): Promise<WritableFile> {
    const file = await this.#fs.create(this.#temporary(name));
    this.#others.push(file);
    return file;
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    await (await this.#create(name)).write(0, bytes);
  }

  #temporary(name: string): string {
    return `${this.#folder}/${name}${TEMPORARY_SUFFIX}`;
  }
}
