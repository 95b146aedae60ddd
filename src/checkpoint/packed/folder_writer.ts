/**
 * The folder that packing and unpacking write: files in any order, all of them named at the end (`checkpoint/partial_folder.ts`).
 * `checkpoint/write_checkpoint.ts` is for copies that keep the layout of every shard, which these do not.
 */

import type { Checkpoint } from "../checkpoint.ts";
import type { WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { isCompanion, PartialFolder, prepareFolder } from "../partial_folder.ts";

/** A folder being written. End it with `finish`, or with `abort` if anything failed. */
export class FolderWriter {
  readonly #folder: PartialFolder;
  readonly #isNew: boolean;
  /** By final name. */
  readonly #files = new Map<string, WritableFile>();

  private constructor(folder: PartialFolder, isNew: boolean) {
    this.#folder = folder;
    this.#isNew = isNew;
  }

  /**
   * Begins to write `folder`, made if need be, from what is in `checkpoint`.
   * @throws {ModelError} the folder has files and `overwrite` is false, or is the checkpoint's own
   */
  static async open(
    fs: WorkFileSystem,
    folder: string,
    checkpoint: Checkpoint,
    overwrite: boolean,
  ): Promise<FolderWriter> {
    const isNew = await fs.list(folder) === undefined;
    await prepareFolder(checkpoint, folder, fs, overwrite);
    return new FolderWriter(new PartialFolder(fs, folder), isNew);
  }

  /** A new file, empty. */
  async create(name: string): Promise<WritableFile> {
    const file = await this.#folder.fs.create(this.#folder.temporary(name));
    this.#files.set(name, file);
    return file;
  }

  /** A new file of UTF-8 text. */
  async writeText(name: string, text: string): Promise<void> {
    await (await this.create(name)).write(0, new TextEncoder().encode(text));
  }

  /** Copies the files of `checkpoint` that hold no weights and were not written already. */
  async copyRest(checkpoint: Checkpoint): Promise<void> {
    for (const name of checkpoint.files) {
      if (!isCompanion(name) || this.#files.has(name)) continue;
      await this.#folder.copy(checkpoint, name, (copied) => this.create(copied));
    }
  }

  /** Gives every file its name. Of a checkpoint already there, config.json goes first and stale weights go too. */
  async finish(): Promise<void> {
    for (const file of this.#files.values()) {
      await file.sync();
      await file.close();
    }
    await this.#folder.publish(new Set(this.#files.keys()));
  }

  /** Removes what was written so far, and the folder if it was made here and nothing else is in it. */
  async abort(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
    await this.#folder.removeTemporary(new Set(this.#files.keys()));
    const { fs, folder } = this.#folder;
    if (this.#isNew && (await fs.list(folder))?.length === 0) await fs.remove(folder);
  }
}

/** Runs `write` and finishes the folder, or aborts it when anything fails. */
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
