/**
 * A checkpoint folder being written: its files have temporary names until all of them are on the disk, and config.json gets
 * its own last, so that an interrupted copy never looks like a checkpoint. What goes into the files is for
 * `write_checkpoint.ts`, which keeps the layout of every shard, and for `compressed/`, which does not.
 */

import { type Checkpoint, CONFIG_FILE } from "./checkpoint.ts";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem, WorkFileSystem, WritableFile } from "../files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../files/write_atomically.ts";

/** Bytes copied at a time. */
export const PIECE_BYTES = 16 << 20;

/** Weight files and their indexes, in the formats of every framework transformers writes. */
const WEIGHT_FILE = /\.(safetensors|bin|pt|pth|h5|msgpack|ot|onnx|gguf)(\.index\.json)?$/;

/**
 * Makes `folder` if need be, for a copy of `checkpoint`.
 * @returns whether there are no files in it
 * @throws {ModelError} it has files and `mayHaveFiles` is false, or is the checkpoint's own
 */
export async function prepareFolder(
  checkpoint: Checkpoint,
  folder: string,
  fs: FileSystem,
  mayHaveFiles: boolean,
): Promise<boolean> {
  const files = await fs.list(folder);
  if (!files) await fs.makeFolder(folder);
  if (await fs.realPath(folder) === await fs.realPath(checkpoint.folder)) {
    throw new ModelError(`${folder}: is the checkpoint itself; write to another folder`);
  }
  const isEmpty = !files || files.length === 0;
  if (!isEmpty && !mayHaveFiles) {
    throw new ModelError(`${folder}: is not empty; choose another folder, or say that it may be overwritten`);
  }
  return isEmpty;
}

/** Whether a file beside the weights goes along: not weights in another format, nor what a killed writer left. */
export function isCompanion(name: string): boolean {
  return !WEIGHT_FILE.test(name) && !name.endsWith(TEMPORARY_SUFFIX);
}

/** The names in a folder being written. `names` are always those of all its files, as they will be. */
export class PartialFolder {
  constructor(readonly fs: WorkFileSystem, readonly folder: string) {}

  /** Where a file lies until it has its name. */
  temporary(name: string): string {
    return `${this.folder}/${name}${TEMPORARY_SUFFIX}`;
  }

  /** Resolves once the names in it are on the disk. */
  sync(): Promise<void> {
    return this.fs.syncFolder(this.folder);
  }

  /** Copies a file of `checkpoint` to one that `create` makes. The signal is checked between pieces. */
  async copy(
    checkpoint: Checkpoint,
    name: string,
    create: (name: string) => Promise<WritableFile>,
    signal?: AbortSignal,
  ): Promise<void> {
    const source = await this.fs.open(`${checkpoint.folder}/${name}`);
    try {
      const target = await create(name);
      for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
        signal?.throwIfAborted();
        await target.write(at, await source.read(at, Math.min(PIECE_BYTES, source.byteLength - at)));
      }
    } finally {
      await source.close();
    }
  }

  /**
   * Gives every file its name, once all are on the disk; of a checkpoint already there, config.json goes first and stale weights
   * go too. May be done again where it was cut off.
   */
  async publish(names: ReadonlySet<string>): Promise<void> {
    const temporary = await this.#temporaryOf(names);
    if (!temporary.includes(CONFIG_FILE)) return; // the last of them has its name
    await this.#removeOld(names);
    for (const name of temporary) if (name !== CONFIG_FILE) await this.#rename(name);
    await this.sync();
    await this.#rename(CONFIG_FILE);
    await this.sync();
  }

  /** Removes those that have temporary names, whoever wrote them. */
  async removeTemporary(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#temporaryOf(names)) await this.fs.remove(this.temporary(name));
  }

  /** Those that have temporary names. */
  async #temporaryOf(names: ReadonlySet<string>): Promise<string[]> {
    const there = new Set(await this.fs.list(this.folder));
    return [...names].filter((name) => there.has(name + TEMPORARY_SUFFIX));
  }

  /** What makes a checkpoint of the folder, and weights that a loader might prefer to the new ones. */
  async #removeOld(names: ReadonlySet<string>): Promise<void> {
    for (const name of await this.fs.list(this.folder) ?? []) {
      const isStale = WEIGHT_FILE.test(name) && !names.has(name);
      if (name === CONFIG_FILE || isStale) await this.fs.remove(`${this.folder}/${name}`);
    }
  }

  #rename(name: string): Promise<void> {
    return this.fs.rename(this.temporary(name), `${this.folder}/${name}`);
  }
}
