/**
 * Hidden states in files. The inputs of each block are one file of raw f32, all windows one after another. A file is written under a
 * temporary name and renamed when it is complete; then the file of the previous block is removed. So a forward that was killed continues
 * from the last block that it finished, and states that are larger than memory pass from file to file. The caller must know to which model
 * and windows a folder belongs.
 */

import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile, WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../../files/write_atomically.ts";

const FILE_NAME = /^states-(\d+)\.f32$/;

/** The files with the states of one run. */
export class StatesFolder {
  readonly #fs: WorkFileSystem;
  readonly #folder: string;

  /** @param folder an existing folder without the states of another run */
  constructor(fs: WorkFileSystem, folder: string) {
    this.#fs = fs;
    this.#folder = folder;
  }

  /** Returns the last block whose inputs are stored, or undefined if there are none. */
  async lastBlock(): Promise<number | undefined> {
    const blocks = await this.#blocks();
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /** Opens the inputs of `block`. @throws {ModelError} if the file does not have `byteLength` bytes */
  async open(block: number, byteLength: number): Promise<ReadableFile> {
    const path = this.#path(block);
    const file = await this.#fs.open(path);
    if (file.byteLength === byteLength) return file;
    await file.close();
    throw new ModelError(`${path}: has ${file.byteLength} bytes, the run's hidden states take ${byteLength}`);
  }

  /** Creates the file for the inputs of `block`. */
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

/** A file of states that is being written. */
export interface StatesDraft {
  /** Writes `bytes` at byte `offset` of the file. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Completes the file and removes the files of earlier blocks. */
  commit(): Promise<void>;
  /** Closes the file without completing it. Has no effect after `commit`. */
  close(): Promise<void>;
}
