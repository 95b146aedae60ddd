/**
 * A checkpoint folder written so that an interrupted run never looks like one: every file under a temporary name
 * until all are on the disk, config.json named last. `models/write_checkpoint.ts` does the same for copies that keep
 * the layout of every shard, which packing does not.
 */

import { type Checkpoint, CONFIG_FILE } from "../models/checkpoint.ts";
import { ModelError } from "../models/error.ts";
import type { FileSystem, WritableFile } from "../models/file_system.ts";
import { TEMPORARY_SUFFIX, WEIGHT_FILE } from "../models/write_checkpoint.ts";
import { PIECE_BYTES } from "./strips.ts";

/** A folder being written. End it with `finish`, or with `abort` if anything failed. */
export class FolderWriter {
  readonly #fs: FileSystem;
  readonly #folder: string;
  readonly #isNew: boolean;
  /** By final name. */
  readonly #files = new Map<string, WritableFile>();

  private constructor(fs: FileSystem, folder: string, isNew: boolean) {
    this.#fs = fs;
    this.#folder = folder;
    this.#isNew = isNew;
  }

  /**
   * Begins to write `folder`, made if need be, from what is in `checkpoint`.
   * @throws {ModelError} the folder has files and `overwrite` is false, or is the checkpoint's own
   */
  static async open(
    fs: FileSystem,
    folder: string,
    checkpoint: Checkpoint,
    overwrite: boolean,
  ): Promise<FolderWriter> {
    const files = await fs.list(folder);
    if (!files) await fs.makeFolder(folder);
    if (await fs.realPath(folder) === await fs.realPath(checkpoint.folder)) {
      throw new ModelError(`${folder}: is the checkpoint itself; write to another folder`);
    }
    if (files && files.length > 0 && !overwrite) {
      throw new ModelError(
        `${folder}: is not empty; choose another folder, or say that it may be overwritten`,
      );
    }
    return new FolderWriter(fs, folder, !files);
  }

  /** A new file, empty. */
  async create(name: string): Promise<WritableFile> {
    const file = await this.#fs.create(this.#temporary(name));
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
      if (WEIGHT_FILE.test(name) || name.endsWith(TEMPORARY_SUFFIX) || this.#files.has(name)) continue;
      const source = await this.#fs.open(`${checkpoint.folder}/${name}`);
      try {
        const target = await this.create(name);
        for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
          await target.write(at, await source.read(at, Math.min(PIECE_BYTES, source.byteLength - at)));
        }
      } finally {
        await source.close();
      }
    }
  }

  /** Gives every file its name. Of a checkpoint already there, config.json goes first and stale weights go too. */
  async finish(): Promise<void> {
    for (const file of this.#files.values()) {
      await file.sync();
      await file.close();
    }
    for (const name of await this.#fs.list(this.#folder) ?? []) {
      const isStale = WEIGHT_FILE.test(name) && !this.#files.has(name);
      if (name === CONFIG_FILE || isStale) await this.#fs.remove(`${this.#folder}/${name}`);
    }
    const names = [...this.#files.keys()].filter((name) => name !== CONFIG_FILE);
    for (const name of [...names, CONFIG_FILE]) {
      await this.#fs.rename(this.#temporary(name), `${this.#folder}/${name}`);
      this.#files.delete(name);
    }
  }

  /** Removes what was written so far, and the folder if it was made here and nothing else is in it. */
  async abort(): Promise<void> {
    for (const [name, file] of this.#files) {
      await file.close();
      await this.#fs.remove(this.#temporary(name));
    }
    this.#files.clear();
    if (this.#isNew && (await this.#fs.list(this.#folder))?.length === 0) await this.#fs.remove(this.#folder);
  }

  #temporary(name: string): string {
    return `${this.#folder}/${name}${TEMPORARY_SUFFIX}`;
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
