/** A file system that fails: at a given moment and from then on, as a killed process would, or for want of room. */

import type { WorkFileSystem, WritableFile } from "../../src/files/file_system.ts";

/** What it throws when its moment has come. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/**
 * `fs` until `operations` changes of files or folders are done; the next one and all after it throw {@link Killed}. A write that is
 * cut off has written half.
 */
export function killedAfter(fs: WorkFileSystem, operations: number): WorkFileSystem {
  let left = operations;
  const spend = () => {
    if (left <= 0) throw new Killed("killed");
    left--;
  };
  const step = async <T>(change: () => Promise<T>) => {
    spend();
    return await change();
  };
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file), sync = file.sync.bind(file);
    file.sync = () => step(sync);
    file.write = async (offset, bytes) => {
      if (left === 0) await write(offset, bytes.subarray(0, bytes.byteLength >> 1));
      await step(() => write(offset, bytes));
    };
    return file;
  };
  return {
    ...fs,
    create: async (path) => watch(await step(() => fs.create(path))),
    edit: async (path) => watch(await step(() => fs.edit(path))),
    makeFolder: (path) => step(() => fs.makeFolder(path)),
    rename: (from, to) => step(() => fs.rename(from, to)),
    remove: (path) => step(() => fs.remove(path)),
    removeFolder: (path) => step(() => fs.removeFolder(path)),
    syncFolder: (path) => step(() => fs.syncFolder(path)),
  };
}

/** `fs` on a disk with room for `bytes` more: writes past it throw, everything else goes on. */
export function fullAfter(fs: WorkFileSystem, bytes: number): WorkFileSystem {
  let left = bytes;
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file);
    file.write = async (offset, piece) => {
      if (piece.byteLength > left) throw new Error("no space left on device");
      left -= piece.byteLength;
      await write(offset, piece);
    };
    return file;
  };
  return {
    ...fs,
    create: async (path) => watch(await fs.create(path)),
    edit: async (path) => watch(await fs.edit(path)),
  };
}
