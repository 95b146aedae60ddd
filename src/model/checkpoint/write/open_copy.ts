/**
 * Writes the checkpoint that a plan describes. Some of its tensors, for example pruned weights, are written at their final offsets
 * as soon as they arrive. The others are copied when the copy is completed. At most one tensor or one chunk is in memory at a time.
 * If the process is killed, a later process can continue from the temporary files.
 */

import { createHash } from "node:crypto";
import { copyBytes, digestBytes } from "../../../base/files/chunks.ts";
import type { EditableFile, WorkFileSystem, WritableFile } from "../../../base/files/file_system.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { removeIfEmpty, TEMPORARY_SUFFIX } from "../../../base/files/whole_file.ts";
import type { TensorInfo } from "../../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../../tensor/host_tensor.ts";
import type { WeightFile } from "../weight_files.ts";
import { checkReplacement, type TensorSource } from "../tensor_source.ts";
import { CompleteCopy, digestCopy, type Digests, workNames } from "./complete_copy.ts";
import { modeOfCopy, PartialFolder, prepareFolder } from "./partial_folder.ts";
import { copiedFiles, plannedFiles, tensorFiles, type WritePlan } from "./write_plan.ts";

export interface CopyOptions {
  /** Whether the folder may contain files. A checkpoint in it is replaced when the copy is published. @default false */
  readonly overwrite?: boolean;
  /**
   * The tensors that an earlier process replaced and synced, with the digests that `replace` returned. With this option, even as
   * an empty map, the copy continues from the temporary files of that process, and the folder may contain files.
   */
  readonly replaced?: Digests;
  /** The names of the files that the caller will pass to `complete`, and that are not copied. @default [] */
  readonly extraFiles?: readonly string[];
}

export interface CompleteOptions {
  /** Returns the content of {@link CopyOptions.extraFiles} by name. It is called when everything else is on the disk. */
  readonly makeExtras?: () => Promise<ReadonlyMap<string, string>>;
  /** Stops the copying between two chunks. */
  readonly signal?: AbortSignal;
  /** Called after each tensor. `total` is the number of all tensors. */
  progress?(done: number, total: number, name: string): void;
}

/**
 * Starts or continues to write a checkpoint to `folder`, which is created if necessary.
 * @throws {ModelError} if the folder contains files and the options do not allow it, or if it is the folder of the source
 */
export async function openCopy(
  plan: WritePlan,
  folder: string,
  fs: WorkFileSystem,
  options: CopyOptions = {},
): Promise<OpenCopy> {
  const isNew = await fs.list(folder) === undefined;
  const allowNonEmpty = options.overwrite || options.replaced !== undefined;
  const isEmpty = await prepareFolder(plan.checkpoint, folder, fs, allowNonEmpty);
  const copy = new OpenCopy(plan, new PartialFolder(fs, folder), isNew, options);
  if (!isEmpty && !options.replaced) await copy.removeTemporary();
  return copy;
}

interface Place {
  readonly file: WeightFile;
  readonly info: TensorInfo;
}

/** A copy that is being written. The caller ends it with `complete`, `abort`, or `close` to let a later process continue. */
export class OpenCopy {
  readonly #plan: WritePlan;
  readonly #folder: PartialFolder;
  readonly #isNew: boolean;
  readonly #extraFiles: readonly string[];
  readonly #isResumed: boolean;
  readonly #places: ReadonlyMap<string, Place>;
  /** The digests of all tensors that were replaced or copied, by name. */
  readonly #digests: Map<string, string>;
  readonly #replaced: Set<string>;
  /** The open weight files by name. They are promises, so that concurrent replacements open a file only once. */
  readonly #weightFiles = new Map<string, Promise<EditableFile>>();
  readonly #others: WritableFile[] = [];

  /** Use {@link openCopy}. */
  constructor(
    plan: WritePlan,
    folder: PartialFolder,
    isNew: boolean,
    { replaced, extraFiles = [] }: CopyOptions,
  ) {
    this.#plan = plan;
    this.#folder = folder;
    this.#isNew = isNew;
    this.#extraFiles = extraFiles;
    this.#isResumed = replaced !== undefined;
    this.#digests = new Map(replaced);
    this.#replaced = new Set(replaced?.keys());
    this.#places = new Map(
      tensorFiles(plan).flatMap((file) =>
        file.header.tensors.map((info) => [info.name, { file, info }] as const)
      ),
    );
  }

  /**
   * Writes `tensor` as the planned tensor `name`. If a tensor is replaced twice, the second value is used.
   * @returns the digest of its bytes
   * @throws {ModelError} if the plan has no such tensor
   * @throws {RangeError} if `tensor` does not have the planned dtype and shape
   */
  async replace(name: string, tensor: HostTensor): Promise<string> {
    const { file, info } = this.#place(name);
    checkReplacement(name, tensor, info);
    const { data } = tensor;
    await (await this.#openFile(file)).write(file.header.headerBytes + info.begin, data);
    this.#replaced.add(name);
    const digest = digestBytes(data);
    this.#digests.set(name, digest);
    return digest;
  }

  /** Flushes replacements to the disk, so that they may be listed in `replaced` of a later process. */
  async sync(...names: readonly string[]): Promise<void> {
    const files = new Set(names.map((name) => this.#place(name).file));
    for (const file of files) await (await this.#openFile(file)).sync();
    await this.#folder.sync();
  }

  /** The planned tensors: the replacements are read from the copy, and the others from the plan. */
  get tensors(): TensorSource {
    return {
      has: (name) => this.#places.has(name),
      info: (name) => this.#place(name).info,
      read: async (name, offset, byteLength) => {
        if (!this.#replaced.has(name)) return await this.#plan.tensors.read(name, offset, byteLength);
        const { file, info } = this.#place(name);
        return await (await this.#openFile(file)).read(
          file.header.headerBytes + info.begin + offset,
          byteLength,
        );
      },
    };
  }

  /**
   * Copies the tensors that were not replaced and all other files, adds the extra files, flushes and closes everything. Then reads
   * it back and compares the tensors with what was written. Afterwards only `abort` and `close` may be called.
   * @throws {DamagedFileError} if a weight file does not have the bytes that were written
   */
  async complete({ makeExtras, signal, progress }: CompleteOptions = {}): Promise<CompleteCopy> {
    const { weightFiles, files, checkpoint } = this.#plan;
    const total = weightFiles.reduce((sum, { header }) => sum + header.tensors.length, 0);
    let done = 0;
    for (const file of weightFiles) {
      const target = await this.#openFile(file);
      await target.write(0, await file.readHeaderBytes());
      for (const info of file.header.tensors) {
        if (!this.#replaced.has(info.name)) await this.#copyTensor({ file, info }, target, signal);
        progress?.(++done, total, info.name);
      }
    }
    for (const [name, read] of files) await this.#writeFile(name, await read());
    for (const name of copiedFiles(this.#plan, this.#extraFiles)) {
      await this.#folder.copy(checkpoint, name, (...file) => this.#createFile(...file), signal);
    }
    await this.#syncFiles();
    for (const [name, text] of await makeExtras?.() ?? []) {
      await this.#writeFile(name, new TextEncoder().encode(text));
    }
    await this.#syncFiles();
    await this.close();
    const names = plannedFiles(this.#plan, this.#extraFiles);
    await this.#folder.sync(names);
    return new CompleteCopy(
      this.#folder,
      names,
      await digestCopy(weightFiles, this.#folder, names, this.#digests),
      workNames(this.#plan),
    );
  }

  /** Closes and removes the files of the copy, and the folder if it is empty and was created for the copy. */
  async abort(): Promise<void> {
    await this.close();
    await this.removeTemporary();
    if (this.#isNew) await removeIfEmpty(this.#folder.fs, this.#folder.folder);
  }

  /** Closes the files of the copy, which remain on the disk for a later process. Idempotent. */
  async close(): Promise<void> {
    for (const opened of this.#weightFiles.values()) {
      // If a file could not be opened, the caller that needed it has received the error.
      const file = await opened.catch(() => undefined);
      await file?.close();
    }
    for (const file of this.#others) await file.close();
    this.#weightFiles.clear();
    this.#others.length = 0;
  }

  /** Removes all temporary files of the copy, including the files of an earlier process. */
  async removeTemporary(): Promise<void> {
    const names = plannedFiles(this.#plan, this.#extraFiles);
    await this.#folder.removeTemporary(new Set([...names, ...workNames(this.#plan)]));
  }

  #place(name: string): Place {
    const place = this.#places.get(name);
    if (place) return place;
    this.#plan.tensors.info(name); // throws an error that names the nearest tensor, if there is no such tensor
    throw new ModelError(`${this.#folder.folder}: has no tensor ${name}`);
  }

  async #syncFiles(): Promise<void> {
    for (const file of [...await Promise.all(this.#weightFiles.values()), ...this.#others]) await file.sync();
  }

  async #copyTensor({ file, info }: Place, target: WritableFile, signal?: AbortSignal): Promise<void> {
    const { name, begin, end } = info, hash = createHash("sha256");
    await copyBytes(
      (offset, length) => this.#plan.tensors.read(name, offset, length),
      (offset, bytes) => {
        hash.update(bytes);
        return target.write(file.header.headerBytes + begin + offset, bytes);
      },
      end - begin,
      signal,
    );
    this.#digests.set(name, hash.digest("hex"));
  }

  #openFile(weightFile: WeightFile): Promise<EditableFile> {
    let file = this.#weightFiles.get(weightFile.name);
    if (!file) this.#weightFiles.set(weightFile.name, file = this.#openWeightFile(weightFile));
    return file;
  }

  /** A resumed copy keeps the content of an existing file. A new copy starts with an empty file. */
  async #openWeightFile({ name, mode }: WeightFile): Promise<EditableFile> {
    const { fs, folder } = this.#folder, path = this.#folder.temporaryPath(name);
    const exists = this.#isResumed && (await fs.list(folder) ?? []).includes(name + TEMPORARY_SUFFIX);
    if (!exists) await (await fs.create(path, modeOfCopy(mode))).close();
    return await fs.edit(path);
  }

  /** Creates a file that is not a weight file. Even a resumed copy writes these files from the start. */
  async #createFile(name: string, mode = this.#plan.weightFiles[0].mode): Promise<WritableFile> {
    await this.#folder.makeParents(name);
    const file = await this.#folder.fs.create(this.#folder.temporaryPath(name), modeOfCopy(mode));
    this.#others.push(file);
    return file;
  }

  async #writeFile(name: string, bytes: Uint8Array): Promise<void> {
    await (await this.#createFile(name)).write(0, bytes);
  }
}
