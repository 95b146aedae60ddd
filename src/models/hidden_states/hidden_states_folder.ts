/**
 * Stores hidden states in files, so that a killed forward pass can resume, and so that hidden states may be
 * larger than memory. One file has the inputs of one transformer block as raw f32 of shape (windows, tokens,
 * hiddenSize). A file is written under a temporary name and renamed when it is complete. Then the files of
 * earlier blocks are removed. A file does not record the model and the windows to which it belongs, so the
 * caller must check that they match.
 */

import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile, WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../../files/whole_file.ts";

const FILE_NAME = /^states-(\d+)\.f32$/;

/** A folder with the hidden states of one forward pass. */
export class HiddenStatesFolder {
  readonly #fs: WorkFileSystem;
  readonly #folder: string;

  /** @param folder an existing folder that has no hidden states of other windows or models */
  constructor(fs: WorkFileSystem, folder: string) {
    this.#fs = fs;
    this.#folder = folder;
  }

  /**
   * Returns the index of the last block for which inputs are stored, or undefined if no inputs are stored.
   */
  async lastBlock(): Promise<number | undefined> {
    const blocks = await this.#blocks();
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /**
   * Opens the file with the inputs of `block`.
   * @throws {ModelError} if the file does not have `byteLength` bytes
   */
  async open(block: number, byteLength: number): Promise<ReadableFile> {
    const path = this.#path(block);
    const file = await this.#fs.open(path);
    if (file.byteLength === byteLength) return file;
    await file.close();
    throw new ModelError(
      `${path}: has ${file.byteLength} bytes, but the hidden states of this run take ${byteLength}`,
    );
  }

  /** Creates the file for the inputs of `block`. It gets its final name when it is committed. */
  async create(block: number): Promise<HiddenStatesDraft> {
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

  /** Returns the indices of the blocks for which inputs are stored. */
  async #blocks(): Promise<number[]> {
    const matches = (await this.#fs.list(this.#folder) ?? []).map((name) => FILE_NAME.exec(name));
    return matches.flatMap((match) => match ? [Number(match[1])] : []);
  }

  #path(block: number): string {
    return `${this.#folder}/states-${block}.f32`;
  }
}

/** A file of hidden states that is not complete yet. */
export interface HiddenStatesDraft {
  /** Writes `bytes` at byte `offset` of the file. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Renames the complete file, and removes the files of earlier blocks. */
  commit(): Promise<void>;
  /** Closes the file without renaming it. Has no effect after `commit`. */
  close(): Promise<void>;
}
