/**
 * Writes a copy of a checkpoint in which some tensors are replaced, for example by their pruned values. A replacement has the
 * dtype and the shape of the original. The layout of the weight files therefore stays the same, and a replacement can be
 * written to its final offset as soon as it arrives. The other tensors are copied when the copy is completed. At most one
 * tensor or one chunk is in memory at a time.
 *
 * Until the copy is published, all of its files have temporary names (`partial_folder.ts`). If the process is killed, a later
 * process can continue from these files. Weights in other formats are not copied, because a loader could choose the dense
 * weights in them instead of the pruned ones.
 */

import { createHash } from "node:crypto";
import { digestBytes } from "../files/digest.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { copyBytes } from "../files/copy_bytes.ts";
import { TEMPORARY_SUFFIX } from "../files/whole_file.ts";
import type { EditableFile, WorkFileSystem, WritableFile } from "../files/file_system.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { CompleteCopy, namesOfCopy, namesToCopy } from "./complete_copy.ts";
import { digestCopy, type Digests } from "./copy_digests.ts";
import { convertReplacement } from "./convert_replacement.ts";
import { modeOfCopy, PartialFolder, prepareFolder } from "./partial_folder.ts";
import type { Shard } from "./shard.ts";
import { readTensor, type TensorSource } from "./tensor_source.ts";
import { INDEX_FILE } from "./weight_files.ts";

/** Options of {@link openCopy}. */
export interface CopyOptions {
  /**
   * Whether the folder may contain files. A checkpoint in it is replaced when the copy is published.
   * @default false
   */
  readonly overwrite?: boolean;
  /**
   * The tensors that an earlier process replaced and synced in the same copy, with the digests that `replace` returned. If this
   * option is given, even as an empty map, the copy continues from the temporary files of that process, and the folder may contain
   * files.
   */
  readonly replaced?: Digests;
  /**
   * The names of the files that the caller will pass to `complete`. Files of the checkpoint with these names are not copied.
   * @default []
   */
  readonly extraFiles?: readonly string[];
}

/** Options of {@link OpenCopy.complete}. */
export interface CompleteOptions {
  /**
   * Returns the content of the extra files by name. Their names are those of {@link CopyOptions.extraFiles}. It is called when
   * everything else is on the disk.
   */
  readonly makeExtras?: () => Promise<ReadonlyMap<string, string>>;
  /** Stops the copying between two chunks. */
  readonly signal?: AbortSignal;
}

/**
 * Starts or continues a copy of `checkpoint` in `folder`, which is created if necessary. The checkpoint must stay open until
 * the copy is complete.
 *
 * @throws {ModelError} if the folder contains files and the options do not allow it, or if it is the checkpoint's own folder
 */
export async function openCopy(
  checkpoint: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: CopyOptions = {},
): Promise<OpenCopy> {
  const isEmpty = await prepareFolder(
    checkpoint,
    folder,
    fs,
    options.overwrite || options.replaced !== undefined,
  );
  const copy = new OpenCopy(checkpoint, folder, fs, options);
  if (!isEmpty && !options.replaced) await copy.removeTemporary();
  return copy;
}

/**
 * A copy that accepts replacements. The caller ends it with `complete`, with `abort` to remove it, or with `close` to let a later
 * process continue.
 */
export class OpenCopy {
  readonly #checkpoint: Checkpoint;
  readonly #folder: PartialFolder;
  readonly #extraFiles: readonly string[];
  readonly #isResumed: boolean;
  /** The digests of all tensors that were replaced or copied, by name. */
  readonly #digests: Map<string, string>;
  readonly #replaced: Set<string>;
  /**
   * The open weight files by final name. The values are promises, so that two concurrent replacements open a
   * file only once.
   */
  readonly #shards = new Map<string, Promise<EditableFile>>();
  /** The other open files. */
  readonly #others: WritableFile[] = [];

  /** Use {@link openCopy}. */
  constructor(
    checkpoint: Checkpoint,
    folder: string,
    fs: WorkFileSystem,
    { replaced, extraFiles = [] }: CopyOptions,
  ) {
    this.#checkpoint = checkpoint;
    this.#folder = new PartialFolder(fs, folder);
    this.#extraFiles = extraFiles;
    this.#isResumed = replaced !== undefined;
    this.#digests = new Map(replaced);
    this.#replaced = new Set(replaced?.keys());
  }

  /**
   * Writes `tensor` in place of the tensor `name`, converted to the dtype of the original. If a tensor is replaced twice, the
   * second value is used.
   *
   * @returns the digest of the converted bytes
   * @throws {ModelError} if the checkpoint has no such tensor
   * @throws {RangeError} if the shapes differ or the dtype cannot be converted
   */
  async replace(name: string, tensor: HostTensor): Promise<string> {
    const { data } = convertReplacement(this.#checkpoint, name, tensor);
    const { shard, byteOffset } = this.#checkpoint.locate(name);
    const file = await this.#shardFile(shard);
    await file.write(byteOffset, data);
    this.#replaced.add(name);
    const digest = digestBytes(data);
    this.#digests.set(name, digest);
    return digest;
  }

  /** Flushes the replacement of `name` to the disk. After that, `name` may be listed in `replaced` of a later process. */
  async sync(name: string): Promise<void> {
    await (await this.#shardFile(this.#checkpoint.locate(name).shard)).sync();
    await this.#folder.sync();
  }

  /**
   * Reads the replacement of `name`, which this or an earlier process wrote.
   *
   * @throws {RangeError} if `name` was not replaced
   */
  async replacement(name: string): Promise<HostTensor> {
    if (!this.#replaced.has(name)) throw new RangeError(`${name}: was not replaced`);
    return await readTensor(this.tensors, name);
  }

  /** The current tensors of the copy: the replacements, read from the copy, and the other tensors of the checkpoint. */
  get tensors(): TensorSource {
    const checkpoint = this.#checkpoint;
    return {
      has: (name) => checkpoint.has(name),
      info: (name) => checkpoint.info(name),
      read: async (name, offset, byteLength) => {
        if (!this.#replaced.has(name)) return await checkpoint.read(name, offset, byteLength);
        const { shard, byteOffset } = checkpoint.locate(name);
        return await (await this.#shardFile(shard)).read(byteOffset + offset, byteLength);
      },
    };
  }

  /**
   * Copies the tensors that were not replaced and all other files, adds the extra files, flushes everything to the disk and
   * closes the files. Then reads everything back and compares the tensors with what was written. Afterwards only `abort` and `close`
   * may be called. If the process is killed in between, a later process continues the copy and calls `complete` again.
   *
   * @throws {DamagedFileError} if a weight file does not have the bytes that were written
   */
  async complete({ makeExtras, signal }: CompleteOptions = {}): Promise<CompleteCopy> {
    for (const shard of this.#checkpoint.shards) await this.#completeShard(shard, signal);
    const index = await this.#checkpoint.indexFile();
    if (index) await this.#writeFile(INDEX_FILE, index);
    for (const name of namesToCopy(this.#checkpoint, this.#extraFiles)) {
      await this.#folder.copy(this.#checkpoint, name, (...file) => this.#createFile(...file), signal);
    }
    await this.#syncFiles();
    for (const [name, text] of await makeExtras?.() ?? []) {
      await this.#writeFile(name, new TextEncoder().encode(text));
    }
    await this.#syncFiles();
    await this.close();
    await this.#folder.sync();
    const names = await namesOfCopy(this.#checkpoint, this.#extraFiles);
    const { fs, folder } = this.#folder;
    return new CompleteCopy(
      this.#folder,
      names,
      await digestCopy(this.#checkpoint, folder, fs, names, this.#digests),
    );
  }

  /** Closes and removes the files of the copy. The folder remains. */
  async abort(): Promise<void> {
    await this.close();
    await this.removeTemporary();
  }

  /** Closes the files of the copy, which remain on the disk for a later process. Idempotent. */
  async close(): Promise<void> {
    for (const opened of this.#shards.values()) {
      // If a file could not be opened, the caller that needed it has received the error.
      const file = await opened.catch(() => undefined);
      await file?.close();
    }
    for (const file of this.#others) await file.close();
    this.#shards.clear();
    this.#others.length = 0;
  }

  /** Removes all temporary files of the copy, including those of an earlier process. */
  async removeTemporary(): Promise<void> {
    await this.#folder.removeTemporary(await namesOfCopy(this.#checkpoint, this.#extraFiles));
  }

  async #syncFiles(): Promise<void> {
    for (const file of [...await Promise.all(this.#shards.values()), ...this.#others]) await file.sync();
  }

  async #completeShard(shard: Shard, signal?: AbortSignal): Promise<void> {
    const { header, readHeaderBytes } = shard, target = await this.#shardFile(shard);
    await target.write(0, await readHeaderBytes());
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
    const hash = createHash("sha256");
    await copyBytes(
      (offset, length) => this.#checkpoint.read(name, offset, length),
      (offset, bytes) => {
        hash.update(bytes);
        return target.write(headerBytes + begin + offset, bytes);
      },
      end - begin,
      signal,
    );
    this.#digests.set(name, hash.digest("hex"));
  }

  /** Opens the copy of a weight file, once per copy. */
  #shardFile(shard: Shard): Promise<EditableFile> {
    let file = this.#shards.get(shard.name);
    if (!file) this.#shards.set(shard.name, file = this.#openShardFile(shard));
    return file;
  }

  /** A resumed copy keeps the content of an existing file. A new copy starts with an empty file. */
  async #openShardFile({ name, file }: Shard): Promise<EditableFile> {
    const { fs, folder } = this.#folder, path = this.#folder.temporaryPath(name);
    const exists = this.#isResumed && (await fs.list(folder) ?? []).includes(name + TEMPORARY_SUFFIX);
    if (!exists) await (await fs.create(path, modeOfCopy(file))).close();
    return await fs.edit(path);
  }

  /** Creates a file that is not a weight file. Even a resumed copy writes these files from the start. */
  async #createFile(name: string, mode = modeOfCopy(this.#checkpoint.shards[0].file)): Promise<WritableFile> {
    const file = await this.#folder.fs.create(this.#folder.temporaryPath(name), mode);
    this.#others.push(file);
    return file;
  }

  async #writeFile(name: string, bytes: Uint8Array): Promise<void> {
    await (await this.#createFile(name)).write(0, bytes);
  }
}
