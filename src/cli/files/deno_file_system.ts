/** Implements `WorkFileSystem`, the interface through which Pare reads and writes files, with Deno. */

import type { EditableFile, WorkFileSystem } from "../../base/files/file_system.ts";
import { FileError } from "../../base/files/file_error.ts";

/** The file system of this machine. */
export const denoFileSystem: WorkFileSystem = {
  list: (folder) =>
    nameFile(folder, async () => {
      const names: string[] = [];
      try {
        for await (const entry of Deno.readDir(folder)) {
          if (entry.isFile || entry.isSymlink && await isFile(`${folder}/${entry.name}`)) {
            names.push(entry.name);
          }
        }
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
      return names.sort();
    }),
  folders: (folder) =>
    nameFile(folder, async () => {
      const entries = await Array.fromAsync(Deno.readDir(folder));
      return entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
    }),
  open: (path) =>
    nameFile(path, async () => {
      const file = await Deno.open(path), { size, mode } = await file.stat();
      return new OpenFile(path, file, size, mode === null ? undefined : mode & 0o777);
    }),
  create: (path, mode) => nameFile(path, async () => new OpenFile(path, await createFile(path, mode), 0)),
  edit: (path) =>
    nameFile(path, async () => {
      const file = await Deno.open(path, { read: true, write: true, create: true });
      return new OpenFile(path, file, (await file.stat()).size);
    }),
  makeFolder: (path, mode) => nameFile(path, () => Deno.mkdir(path, { recursive: true, mode })),
  rename: (from, to) => nameFile(from, () => Deno.rename(from, to)),
  remove: (path) => nameFile(path, () => Deno.remove(path)),
  realPath: (path) => nameFile(path, () => Deno.realPath(path)),
  modified: (path) => nameFile(path, async () => (await Deno.stat(path)).mtime?.getTime() ?? 0),
  async syncFolder(folder) {
    if (Deno.build.os === "windows") return; // Windows cannot open folders, and it writes names to the disk at once
    await nameFile(folder, async () => {
      using opened = await Deno.open(folder);
      await opened.sync();
    });
  },
  removeFolder: (path) =>
    nameFile(path, async () => {
      try {
        await Deno.remove(path, { recursive: true });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }),
  lock: (path) =>
    nameFile(path, async () => {
      const file = await Deno.open(path, { write: true, create: true });
      const locked = new OpenFile(path, file, 0);
      if (await file.tryLock(true)) return { [Symbol.asyncDispose]: () => locked.close() };
      await locked.close();
    }),
};

/** Opens an empty file without following a link of this name, which a neighbour on the machine may have placed here. */
async function createFile(path: string, mode?: number): Promise<Deno.FsFile> {
  const create = () => Deno.open(path, { write: true, createNew: true, mode }); // fails if anything exists, a link as well
  try {
    return await create();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  if (!(await Deno.lstat(path)).isSymlink) return await Deno.open(path, { write: true, truncate: true });
  await Deno.remove(path);
  return await create();
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false; // a dangling link
    throw error;
  }
}

/**
 * An open file. Deno reads and writes at the file's cursor only, and an open file has only one cursor. Calls
 * that overlap are therefore run one after the other.
 */
class OpenFile implements EditableFile {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    readonly path: string,
    readonly file: Deno.FsFile,
    readonly byteLength: number,
    readonly mode?: number,
  ) {}

  read(offset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#runInOrder(async () => {
      const bytes = new Uint8Array(byteLength);
      await this.file.seek(offset, Deno.SeekMode.Start);
      for (let filled = 0; filled < byteLength;) {
        const count = await this.file.read(bytes.subarray(filled));
        if (count === null) {
          throw new RangeError(`${this.path}: ends at byte ${offset + filled}, needs ${offset + byteLength}`);
        }
        filled += count;
      }
      return bytes;
    });
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#runInOrder(async () => {
      await this.file.seek(offset, Deno.SeekMode.Start);
      for (let done = 0; done < bytes.byteLength;) done += await this.file.write(bytes.subarray(done));
    });
  }

  sync(): Promise<void> {
    return this.#runInOrder(() => this.file.sync());
  }

  close(): Promise<void> {
    return this.#runInOrder(() => {
      if (!this.#closed) this.file.close();
      this.#closed = true;
      return Promise.resolve();
    });
  }

  #runInOrder<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => nameFile(this.path, task));
    this.#last = result.catch(() => {}); // the caller gets the error; the next call runs anyway
    return result;
  }
}

/** The end of Deno's messages: the number of the error, and the operation with its path. */
const DENO_SUFFIX = / \(os error \d+\)(: .*)?$/;

/**
 * Runs `operation` on the file or folder `path`.
 * @throws {FileError} if the operating system refuses the operation. All other errors are passed on unchanged
 */
export async function nameFile<T>(path: string, operation: () => T | Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    if (!(cause instanceof Error && "code" in cause && typeof cause.code === "string")) throw cause;
    throw new FileError(path, cause.code, cause.message.replace(DENO_SUFFIX, ""), { cause });
  }
}
