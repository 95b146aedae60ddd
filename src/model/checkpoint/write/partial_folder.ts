/**
 * Manages a checkpoint folder that is being written. Every file is called `NAME.partial` until all files are on the disk. Then
 * `publish` gives them their final names, config.json last, without which loaders do not read the folder.
 */

import { type Checkpoint, CONFIG_FILE } from "../checkpoint.ts";
import { copyBytes } from "../../../base/files/chunks.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { FileSystem, WorkFileSystem, WritableFile } from "../../../base/files/file_system.ts";
import { isOwnFolder, listFolders, parentsOf } from "../nested_files.ts";
import { TEMPORARY_SUFFIX } from "../../../base/files/whole_file.ts";

/** Matches weight files and their indexes in every format that the transformers library writes. */
const WEIGHT_FILE = /\.(safetensors|bin|pt|pth|h5|msgpack|ot|onnx|gguf)(\.index\.json)?$/;

/**
 * Creates `folder` for a copy of `checkpoint`, or checks that an existing folder can be used.
 * @param allowNonEmpty whether the folder may contain files
 * @returns whether the folder contains no files
 * @throws {ModelError} if the folder contains files and `allowNonEmpty` is false, or if it is the folder of `checkpoint`
 */
export async function prepareFolder(
  checkpoint: Checkpoint,
  folder: string,
  fs: FileSystem,
  allowNonEmpty: boolean,
): Promise<boolean> {
  const files = await fs.list(folder);
  if (!files) await fs.makeFolder(folder);
  if (await fs.realPath(folder) === await fs.realPath(checkpoint.folder)) {
    throw new ModelError(`${folder}: is the checkpoint itself; write to another folder`);
  }
  const isEmpty = !files || files.length === 0;
  if (!isEmpty && !allowNonEmpty) {
    throw new ModelError(`${folder}: is not empty; choose another folder, or set the option overwrite`);
  }
  return isEmpty;
}

/**
 * Whether a file of a checkpoint is copied unchanged, such as a file of the tokenizer. Weight files are not copied, because a
 * loader could prefer dense weights in another format. Temporary files that a killed process left are not copied either.
 */
export function isCopiedFile(name: string): boolean {
  return !WEIGHT_FILE.test(name) && !name.endsWith(TEMPORARY_SUFFIX);
}

/**
 * Returns the permission bits for the copy of a file with the bits `mode`. Nobody can read a copy who cannot read the original.
 * Its owner can always write the copy, because a later process may have to continue it.
 */
export function modeOfCopy(mode: number | undefined): number | undefined {
  return mode === undefined ? undefined : mode | 0o600;
}

/** A folder that is being written. The parameter `names` of its methods has the final names of all files of the copy. */
export class PartialFolder {
  constructor(readonly fs: WorkFileSystem, readonly folder: string) {}

  temporaryPath(name: string): string {
    return `${this.folder}/${name}${TEMPORARY_SUFFIX}`;
  }

  /** Syncs the folder, and the folders in it that have files of the copy. */
  async sync(names: Iterable<string> = []): Promise<void> {
    await this.fs.syncFolder(this.folder);
    for (const parent of parentsOf(names)) await this.fs.syncFolder(`${this.folder}/${parent}`);
  }

  /** Makes the folders around a file. @throws {ModelError} if there is a link in the place of one of them */
  async makeParents(name: string): Promise<void> {
    for (const parent of parentsOf([name])) {
      const path = `${this.folder}/${parent}`;
      await this.fs.makeFolder(path);
      if (await isOwnFolder(this.fs, this.folder, parent)) continue;
      throw new ModelError(`${path}: is a link to another folder; write to another folder`);
    }
  }

  /** Copies a file of `checkpoint` to the file that `create` returns, which the caller closes. */
  async copy(
    checkpoint: Checkpoint,
    name: string,
    create: (name: string, mode?: number) => Promise<WritableFile>,
    signal?: AbortSignal,
  ): Promise<void> {
    const source = await this.fs.open(`${checkpoint.folder}/${name}`);
    try {
      const target = await create(name, source.mode);
      await copyBytes(
        (offset, length) => source.read(offset, length),
        (offset, bytes) => target.write(offset, bytes),
        source.byteLength,
        signal,
      );
    } finally {
      await source.close();
    }
  }

  /**
   * Renames all files, whose contents must be on the disk, to their final names. The config.json of an older checkpoint is removed
   * first. Its other weight files are removed too, because a loader might prefer them to the new ones. If the process is killed
   * during the call, another call completes the work.
   */
  async publish(names: ReadonlySet<string>): Promise<void> {
    const temporary = await this.#findTemporary(names);
    if (!temporary.includes(CONFIG_FILE)) return; // config.json is renamed last, so everything is done
    await this.#removeOldCheckpoint(names);
    for (const name of temporary) if (name !== CONFIG_FILE) await this.#rename(name);
    await this.sync(names);
    await this.#rename(CONFIG_FILE);
    await this.sync();
  }

  /** Removes all temporary files of the copy, also of an earlier process. */
  async removeTemporary(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#findTemporary(names)) await this.fs.remove(this.temporaryPath(name));
    for (const parent of parentsOf(names).reverse()) {
      const path = `${this.folder}/${parent}`, files = await this.fs.list(path);
      const isEmpty = files?.length === 0 && (await this.fs.folders(path)).length === 0;
      if (isEmpty && await isOwnFolder(this.fs, this.folder, parent)) await this.fs.remove(path);
    }
  }

  async #findTemporary(names: ReadonlySet<string>): Promise<string[]> {
    const existing = await listFolders(this.fs, this.folder, names);
    return [...names].filter((name) => existing.has(name + TEMPORARY_SUFFIX));
  }

  async #removeOldCheckpoint(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.fs.list(this.folder) ?? []) {
      const isStale = WEIGHT_FILE.test(name) && !names.has(name);
      if (name === CONFIG_FILE || isStale) await this.fs.remove(`${this.folder}/${name}`);
    }
  }

  #rename(name: string): Promise<void> {
    return this.fs.rename(this.temporaryPath(name), `${this.folder}/${name}`);
  }
}
