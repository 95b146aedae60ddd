/**
 * Writes the folder of a quantised or unpacked checkpoint. The files may be written in any order, and `finish` publishes all of
 * them (`checkpoint/partial_folder.ts`). Copies that keep the layout of the weight files use `checkpoint/open_copy.ts`.
 */

import { type Checkpoint, CONFIG_FILE } from "../checkpoint.ts";
import { readText } from "../../files/whole_file.ts";
import { formatConfig } from "../format_config.ts";
import type { WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { removeIfEmpty } from "../../files/remove_if_empty.ts";
import { isCopiedFile, modeOfCopy, PartialFolder, prepareFolder } from "../partial_folder.ts";

/** A folder that is being written. The caller ends it with `finish`, or with `abort` if an error occurred. */
export class FolderWriter {
  readonly #folder: PartialFolder;
  readonly #isNew: boolean;
  /** The files by final name. */
  readonly #files = new Map<string, WritableFile>();

  /** The permission bits of new files. */
  readonly #mode: number | undefined;

  private constructor(folder: PartialFolder, isNew: boolean, mode: number | undefined) {
    this.#folder = folder;
    this.#isNew = isNew;
    this.#mode = mode;
  }

  /**
   * Starts to write a checkpoint, derived from `checkpoint`, to `folder`. The folder is created if necessary.
   *
   * @throws {ModelError} if the folder contains files and `overwrite` is false, or if it is the folder of `checkpoint`
   */
  static async open(
    fs: WorkFileSystem,
    folder: string,
    checkpoint: Checkpoint,
    overwrite: boolean,
  ): Promise<FolderWriter> {
    const isNew = await fs.list(folder) === undefined;
    await prepareFolder(checkpoint, folder, fs, overwrite);
    return new FolderWriter(new PartialFolder(fs, folder), isNew, modeOfCopy(checkpoint.shards[0].file));
  }

  /** Creates an empty file. `finish` and `abort` close the file. */
  async create(name: string, mode = this.#mode): Promise<WritableFile> {
    const file = await this.#folder.fs.create(this.#folder.temporaryPath(name), mode);
    this.#files.set(name, file);
    return file;
  }

  /** Writes a file with `text` in UTF-8. */
  async writeText(name: string, text: string): Promise<void> {
    await (await this.create(name)).write(0, new TextEncoder().encode(text));
  }

  /** Writes config.json with the settings `config`. Settings of `checkpoint` that did not change keep their digits. */
  async writeConfig(checkpoint: Checkpoint, config: Readonly<Record<string, unknown>>): Promise<void> {
    const original = await readText(this.#folder.fs, `${checkpoint.folder}/${CONFIG_FILE}`);
    await this.writeText(CONFIG_FILE, formatConfig(original, checkpoint.config, config));
  }

  /** Copies the files of `checkpoint` that are not weight files and that were not created already. */
  async copyOtherFiles(checkpoint: Checkpoint): Promise<void> {
    for (const name of checkpoint.files) {
      if (!isCopiedFile(name) || this.#files.has(name)) continue;
      await this.#folder.copy(checkpoint, name, (...file) => this.create(...file));
    }
  }

  /** Flushes the files to the disk and gives them their final names. An older checkpoint in the folder is replaced. */
  async finish(): Promise<void> {
    for (const file of this.#files.values()) {
      await file.sync();
      await file.close();
    }
    await this.#folder.publish(new Set(this.#files.keys()));
  }

  /** Removes the temporary files. The folder is removed too if the writer created it and it is empty. */
  async abort(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
    await this.#folder.removeTemporary(new Set(this.#files.keys()));
    const { fs, folder } = this.#folder;
    if (this.#isNew) await removeIfEmpty(fs, folder);
  }
}

/** Runs `write` and finishes the folder. If an error occurs, the folder is aborted and the error is rethrown. */
export async function writeFolder<T>(writer: FolderWriter, write: () => Promise<T>): Promise<T> {
  try {
    const result = await write();
    await writer.finish();
    return result;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
