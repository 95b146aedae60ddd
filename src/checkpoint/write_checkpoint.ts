/**
 * Writes a pruned copy of a checkpoint: the same files and the same layout of every shard, with some tensors
 * replaced. A replaced tensor has the dtype and the shape of the original, so headers stay as they are and it goes
 * straight to its place in the new shard when it arrives; what was not replaced is copied at the end. Nothing is
 * held in memory but one tensor or one piece.
 *
 * Until the end every file has a temporary name (`partial_folder.ts`), under which another writer may take it up where one was
 * killed. Weights in formats Pare does not read are left behind: dense weights beside pruned ones would be a trap.
 */

import type { TensorInfo } from "../safetensors/tensor_info.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { EditableFile, WorkFileSystem, WritableFile } from "../files/file_system.ts";
import { isCompanion, PartialFolder, PIECE_BYTES, prepareFolder } from "./partial_folder.ts";
import { asReplacement } from "./replacement.ts";
import { INDEX_FILE } from "./shards.ts";
import type { Shard } from "./shard.ts";
import { readTensor, type TensorSource } from "./tensor_source.ts";

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

/** A copy being written. End it with `finish`, or with `abort` or `close` if anything failed. */
export class CheckpointWriter {
  readonly #checkpoint: Checkpoint;
  readonly #folder: PartialFolder;
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
    this.#folder = new PartialFolder(fs, folder);
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
    await this.#folder.sync();
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
      if (this.#isCopied(name)) {
        await this.#folder.copy(this.#checkpoint, name, (copied) => this.#create(copied), signal);
      }
    }
    for (const [name, bytes] of Object.entries(extras)) await this.#write(name, bytes);
    for (const file of [...await Promise.all(this.#shards.values()), ...this.#others]) await file.sync();
    await this.close();
    await this.#folder.sync();
  }

  /** Gives every file its name. After `complete`, of this writer or the one before; may be done again. */
  async publish(): Promise<void> {
    await this.#folder.publish(await this.#names());
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
    await this.#folder.removeTemporary(await this.#names());
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

  /** Whether a file beside the shards belongs to the copy. */
  #isCopied(name: string): boolean {
    return isCompanion(name) && !this.#extras.includes(name);
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

  /** A shard's file: one that another writer left is taken up. */
  #shardFile(name: string): Promise<EditableFile> {
    let file = this.#shards.get(name);
    if (!file) this.#shards.set(name, file = this.#openShard(this.#folder.temporary(name)));
    return file;
  }

  async #openShard(path: string): Promise<EditableFile> {
    if (!this.#isTakenUp) await (await this.#folder.fs.create(path)).close();
    return await this.#folder.fs.edit(path);
  }

  /** Another file: always written anew. */
  async #create(name: string): Promise<WritableFile> {
    const file = await this.#folder.fs.create(this.#folder.temporary(name));
    this.#others.push(file);
    return file;
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    await (await this.#create(name)).write(0, bytes);
  }
}
