/**
 * Hidden states in files: one file a boundary between blocks, all windows one after another, raw f32. The file of a
 * boundary is whole or not there: it is written under a temporary name, and the one before it goes when it has its
 * own. So a forward that was killed goes on from the last block it finished, and one whose states are larger
 * than memory runs from file to file. What model and which windows they belong to is for the caller to know.
 */

import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile, WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../../files/write_atomically.ts";

const FILE_NAME = /^states-(\d+)\.f32$/;

/** The files of one run's states. */
export class StatesFolder {
  readonly #fs: WorkFileSystem;
  readonly #folder: string;

  /** @param folder exists, and holds no other run's states */
  constructor(fs: WorkFileSystem, folder: string) {
    this.#fs = fs;
    this.#folder = folder;
  }

  /** The last block whose inputs are here; undefined where none are. */
  async lastBlock(): Promise<number | undefined> {
    const blocks = await this.#blocks();
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /** Opens the states before `block`, which must take `byteLength` bytes. @throws {ModelError} they do not */
  async open(block: number, byteLength: number): Promise<ReadableFile> {
    const path = this.#path(block);
    const file = await this.#fs.open(path);
    if (file.byteLength === byteLength) return file;
    await file.close();
    throw new ModelError(`${path}: has ${file.byteLength} bytes, the run's hidden states take ${byteLength}`);
  }

  /** Begins the file of the states before `block`. */
  async create(block: number): Promise<StatesDraft> {
    const path = this.#path(block);
    const file = await this.#fs.create(path + TEMPORARY_SUFFIX);
    return {
      write: (offset, bytes) => file.write(offset, bytes),
      commit: () => this.#commit(file, path, block),
      close: () => file.close(),
    };
  }

  async #commit(file: WritableFile, path: string, block: number): Promise<void> {
    await file.sync();
    await file.close();
    await this.#fs.rename(path + TEMPORARY_SUFFIX, path);
    await this.#fs.syncFolder(this.#folder);
    for (const earlier of await this.#blocks()) {
      if (earlier < block) await this.#fs.remove(this.#path(earlier));
    }
  }

  async #blocks(): Promise<number[]> {
    const matches = (await this.#fs.list(this.#folder) ?? []).map((name) => FILE_NAME.exec(name));
    return matches.flatMap((match) => match ? [Number(match[1])] : []);
  }

  #path(block: number): string {
    return `${this.#folder}/states-${block}.f32`;
  }
}

/** States being written. */
export interface StatesDraft {
  /** Writes `bytes` at byte `offset` of the file. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Gives the file its name and removes those of earlier blocks. */
  commit(): Promise<void>;
  /** Leaves it unfinished; harmless after `commit`. */
  close(): Promise<void>;
}
