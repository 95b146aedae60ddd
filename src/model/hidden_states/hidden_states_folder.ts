/**
 * Stores hidden states in files, so that a killed forward pass can resume, and so that hidden states may be larger than memory. One file
 * has the inputs of one block as raw f32 of shape (windows, tokens, columns of the states). A file is written under a temporary name and
 * renamed when it is complete. Then the files of earlier blocks are removed. The caller must check that a file belongs to the model and the windows.
 *
 * If the caller stores the checksums of the files, `removeDamaged` finds files that have changed. The checksum is a CRC-32. It finds every
 * change of up to 32 consecutive bits, and overlooks one in 2³² others. A SHA-256 would take thirty times as long, and the hidden states of
 * a run have many times the bytes of the model.
 */

import { crc32 } from "node:zlib";
import { ModelError } from "../../base/files/file_error.ts";
import type { ReadableFile, WorkFileSystem, WritableFile } from "../../base/files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../../base/files/whole_file.ts";

const FILE_NAME = /^states-(\d+)\.f32$/;

/** The bytes that are added to a checksum at a time. */
const CHECKSUM_CHUNK_BYTES = 8 << 20;

export interface StatesChecksums {
  /** Returns the stored checksum of the file with the inputs of `block`, if there is one. */
  get(block: number): number | undefined;
  set(block: number, checksum: number): Promise<void>;
}

export class HiddenStatesFolder {
  readonly #fs: WorkFileSystem;
  readonly #folder: string;
  readonly #checksums?: StatesChecksums;

  /** @param folder an existing folder that has no hidden states of other windows or models */
  constructor(fs: WorkFileSystem, folder: string, checksums?: StatesChecksums) {
    this.#fs = fs;
    this.#folder = folder;
    this.#checksums = checksums;
  }

  /** Returns the index of the last block for which inputs are stored, or undefined if no inputs are stored. */
  async lastBlock(): Promise<number | undefined> {
    const blocks = await this.#blocks();
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /** Opens the file with the inputs of `block`. @throws {ModelError} if the file does not have `byteLength` bytes */
  async open(block: number, byteLength: number): Promise<ReadableFile> {
    const path = this.#path(block);
    const file = await this.#fs.open(path);
    if (file.byteLength === byteLength) return file;
    await file.close();
    throw new ModelError(
      `${path}: has ${file.byteLength} bytes, but the hidden states of this run take ${byteLength}`,
    );
  }

  /**
   * Removes files from the last block back, until a file is usable and has its checksum. Earlier files are not read.
   * @param isUsable returns whether a forward pass may start with the inputs of `block`
   * @returns the paths of the removed files
   */
  async removeDamaged(isUsable: (block: number) => boolean): Promise<string[]> {
    const removed: string[] = [];
    for (const block of (await this.#blocks()).sort((a, b) => b - a)) {
      if (isUsable(block) && await this.#hasChecksum(block)) break;
      await this.#fs.remove(this.#path(block));
      removed.push(this.#path(block));
    }
    return removed;
  }

  async #hasChecksum(block: number): Promise<boolean> {
    const expected = this.#checksums?.get(block);
    if (expected === undefined) return false;
    const file = await this.#fs.open(this.#path(block));
    try {
      let checksum = 0;
      for (let at = 0; at < file.byteLength; at += CHECKSUM_CHUNK_BYTES) {
        const length = Math.min(CHECKSUM_CHUNK_BYTES, file.byteLength - at);
        checksum = crc32(await file.read(at, length), checksum);
      }
      return checksum === expected;
    } finally {
      await file.close();
    }
  }

  /** Creates the file for the inputs of `block`. It gets its final name when it is committed. */
  async create(block: number): Promise<HiddenStatesDraft> {
    const path = this.#path(block);
    const file = await this.#fs.create(path + TEMPORARY_SUFFIX);
    let checksum = 0, end = 0;
    return {
      write: (offset, bytes) => {
        if (this.#checksums) {
          if (offset !== end) throw new RangeError(`${path}: written at byte ${offset} instead of ${end}`);
          checksum = crc32(bytes, checksum);
          end += bytes.byteLength;
        }
        return file.write(offset, bytes);
      },
      commit: () => this.#commit(file, path, block, checksum),
      close: () => file.close(),
    };
  }

  async #commit(file: WritableFile, path: string, block: number, checksum: number): Promise<void> {
    await file.sync();
    await file.close();
    // The checksum is stored first. If the process is killed before the file is renamed, the earlier file remains.
    await this.#checksums?.set(block, checksum);
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
  /** Writes `bytes` at byte `offset` of the file. If checksums are stored, each write must begin where the last one ended. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Renames the complete file, and removes the files of earlier blocks. */
  commit(): Promise<void>;
  /** Closes the file without renaming it. Has no effect after `commit`. */
  close(): Promise<void>;
}
