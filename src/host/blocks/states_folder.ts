/**
 * A folder with hidden states that a host has no memory for. They also survive a restart of the host. Each file has the
 * states of one name (`states_file.ts`). States are in memory or in the folder, but never in both, because those in the
 * folder would become stale. Files have a budget. Above it, or if the disk is full, those that were written least recently
 * are removed.
 */

import { messageOf } from "../../base/errors.ts";
import { digestBytes } from "../../base/files/chunks.ts";
import { DamagedFileError, FileError, InUseError, ModelError } from "../../base/files/file_error.ts";
import type { ReadableFile, WorkFileSystem } from "../../base/files/file_system.ts";
import { LOCK_FILE, TEMPORARY_SUFFIX } from "../../base/files/whole_file.ts";
import type { Backend } from "../../device/backend.ts";
import type { StoredStates } from "../../protocol/messages.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { SafetensorsError } from "../../tensor/safetensors/error.ts";
import { readDescription, readStates, writeStates } from "./states_file.ts";
import { dataBytesOf, MAX_NAMES, type States, type StatesName } from "./states.ts";

export interface StatesFolderOptions {
  readonly fs: WorkFileSystem;
  /** The folder, which is created if necessary. No other host may use it. */
  readonly folder: string;
  /** The most bytes of all files together. */
  readonly budgetBytes: number;
  /** Called if states cannot be stored, if others are removed because the disk is full, or if those in a file cannot be used. */
  readonly log: (entry: Readonly<Record<string, string>> & { readonly event: string }) => void;
}

/** The name of a file: a digest of the owner, and one of the owner with the name. */
const FILE_NAME = /^[0-9a-f]{16}-[0-9a-f]{64}\.safetensors$/;

/** The number of characters of a file's name that depend on the owner only. */
const OWNER_LENGTH = 16;

export class StatesFolder implements AsyncDisposable {
  readonly #options: StatesFolderOptions;
  readonly #lock: AsyncDisposable;
  /** The bytes of each file, in the order in which the files were written. */
  readonly #files = new Map<string, number>();
  /** The end of the last operation. Operations run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: StatesFolderOptions, lock: AsyncDisposable) {
    this.#options = options;
    this.#lock = lock;
  }

  /** @throws {InUseError} if another process uses the folder, and {FileError} if it cannot be read or written */
  static async open(options: StatesFolderOptions): Promise<StatesFolder> {
    const { fs, folder } = options;
    await fs.makeFolder(folder, 0o700);
    const lock = await fs.lock(`${folder}/${LOCK_FILE}`);
    if (!lock) throw new InUseError(`${folder}: another host uses this folder`);
    const states = new StatesFolder(options, lock);
    await states.#findFiles();
    return states;
  }

  /** Removes unfinished files and those beyond the budget, and orders the others by the time at which they were written. */
  async #findFiles(): Promise<void> {
    const { fs, folder } = this.#options, found: { name: string; time: number; bytes: number }[] = [];
    for (const name of await fs.list(folder) ?? []) {
      const path = `${folder}/${name}`;
      if (FILE_NAME.test(name.replace(TEMPORARY_SUFFIX, ""))) {
        if (name.endsWith(TEMPORARY_SUFFIX)) await fs.remove(path);
        else found.push({ name, time: await fs.modified(path), bytes: await this.#withFile(name, sizeOf) });
      }
    }
    for (const { name, bytes } of found.sort((a, b) => a.time - b.time)) this.#files.set(name, bytes);
    await this.#makeRoom(0);
  }

  /** Stores states that are in host memory. If they cannot be written, they are lost, and the log says why. */
  save(name: StatesName, states: States): Promise<void> {
    return this.#inOrder(async () => {
      const { fs, folder, budgetBytes, log } = this.#options, file = fileName(name);
      try {
        const dataBytes = dataBytesOf(states);
        if (dataBytes > budgetBytes) {
          throw new RangeError(`the states take ${dataBytes} bytes, but the folder may have ${budgetBytes}`);
        }
        const own = [...this.#files.keys()].filter((other) => other.startsWith(file.slice(0, OWNER_LENGTH)));
        if (own.length >= MAX_NAMES) await this.#remove(own[0]);
        await this.#makeRoom(dataBytes);
        this.#files.set(file, await this.#write(file, name, states));
        await fs.syncFolder(folder);
        await this.#makeRoom(0); // the file has a header too
      } catch (error) {
        // The file would become stale when its states are created again.
        await this.#remove(file).catch(() => {});
        log({ event: "states not stored", folder, name: name.name, fault: messageOf(error) });
      }
    });
  }

  /** Writes a file, and returns its size. While the disk has no space for it, removes the oldest file and tries again. */
  async #write(file: string, name: StatesName, states: States): Promise<number> {
    const { fs, folder, log } = this.#options;
    for (;;) {
      try {
        return await writeStates(fs, `${folder}/${file}`, name, states);
      } catch (error) {
        const isFull = error instanceof FileError && (error.code === "ENOSPC" || error.code === "EDQUOT");
        const [oldest] = this.#files.keys();
        if (!isFull || oldest === undefined) throw error;
        await this.#remove(oldest);
        log({ event: "oldest states removed", folder, file: oldest, fault: error.message });
      }
    }
  }

  /** Returns the description of the states, or undefined if the folder does not have them. */
  describe(name: StatesName, backend: Backend): Promise<StoredStates | undefined> {
    return this.#reading(name, async (file, path) => {
      const { description: { next_block, windows, tokens } } = await readDescription(
        file,
        path,
        name,
        backend,
      );
      return { next_block, windows, tokens };
    });
  }

  /** Returns the size of the file in bytes, about as many as the states take in memory. Undefined if there is no file. */
  byteLength(name: StatesName): Promise<number | undefined> {
    return this.#inOrder(() => Promise.resolve(this.#files.get(fileName(name))));
  }

  /**
   * Takes states out of the folder.
   * @returns undefined if the folder does not have them, or if their file is damaged or of another device
   * @throws the errors of the device. The states then stay in the folder
   */
  async take(name: StatesName, backend: Backend): Promise<States | undefined> {
    const states = await this.#reading(name, (file, path) => readStates(file, path, name, backend));
    if (!states) return undefined;
    try {
      await this.remove(name);
      return states;
    } catch (error) {
      states.forward.destroy();
      throw error;
    }
  }

  /** Removes states, so that they are gone after a loss of power too. Returns whether there were any. @throws {FileError} */
  remove(name: StatesName): Promise<boolean> {
    return this.#inOrder(() => this.#remove(fileName(name)));
  }

  /** Waits for the operations that have begun, and releases the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await this.#lock[Symbol.asyncDispose]();
  }

  /** Removes the oldest files until the budget has room for `byteLength` more bytes. */
  async #makeRoom(byteLength: number): Promise<void> {
    let bytes = [...this.#files.values()].reduce((sum, size) => sum + size, byteLength);
    for (const [file, size] of [...this.#files]) {
      if (bytes <= this.#options.budgetBytes) return;
      await this.#remove(file);
      bytes -= size;
    }
  }

  async #remove(file: string): Promise<boolean> {
    if (!this.#files.has(file)) return false;
    const { fs, folder } = this.#options;
    try {
      await fs.remove(`${folder}/${file}`);
    } catch (error) {
      if (!(error instanceof FileError && error.code === "ENOENT")) throw error; // another program has removed it
    }
    await fs.syncFolder(folder);
    return this.#files.delete(file);
  }

  /**
   * Calls `read` with the file of the states. If the file is damaged or of another device, removes it, and returns undefined.
   * @throws {FileError} if it cannot be removed. A file that is forgotten could be found after a restart, when it is stale
   */
  #reading<T>(
    name: StatesName,
    read: (file: ReadableFile, path: string) => Promise<T>,
  ): Promise<T | undefined> {
    return this.#inOrder(async () => {
      const file = fileName(name);
      if (!this.#files.has(file)) return undefined;
      try {
        return await this.#withFile(file, read);
      } catch (error) {
        if (!isDamage(error)) throw error;
        const { log, folder } = this.#options;
        log({ event: "states unusable", folder, name: name.name, fault: messageOf(error) });
        await this.#remove(file);
        return undefined;
      }
    });
  }

  async #withFile<T>(name: string, use: (file: ReadableFile, path: string) => Promise<T>): Promise<T> {
    const path = `${this.#options.folder}/${name}`, file = await this.#options.fs.open(path);
    try {
      return await use(file, path);
    } finally {
      await file.close();
    }
  }

  #inOrder<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#last.then(operation);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** The errors of a file that cannot be read, or that differs from what was written. */
const DAMAGES = [DamagedFileError, ModelError, RangeError, Refusal, SafetensorsError, SyntaxError];

function isDamage(error: unknown): boolean {
  return DAMAGES.some((type) => error instanceof type) || error instanceof FileError && !error.isTransient;
}

function sizeOf({ byteLength }: ReadableFile): Promise<number> {
  return Promise.resolve(byteLength);
}

function fileName({ owner, name }: StatesName): string {
  return `${digestBytes(owner).slice(0, OWNER_LENGTH)}-${digestBytes(`${owner}/${name}`)}.safetensors`;
}
