/** File systems that fail: one simulates a process that is killed after a number of operations, and one a disk that becomes full. */

import type { WorkFileSystem, WritableFile } from "../../src/files/file_system.ts";

/** The error of every operation after the simulated kill. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/**
 * Wraps `fs` so that `operations` changes of files or folders succeed, and all later ones throw {@link Killed}. If the first failing
 * change is a write, half of its bytes are written.
 */
export function killedAfter(fs: WorkFileSystem, operations: number): WorkFileSystem {
  let remaining = operations;
  const step = async <T>(change: () => Promise<T>) => {
    if (remaining <= 0) throw new Killed("killed");
    remaining--;
    return await change();
  };
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file), sync = file.sync.bind(file);
    file.sync = () => step(sync);
    file.write = async (offset, bytes) => {
      if (remaining === 0) await write(offset, bytes.subarray(0, bytes.byteLength >> 1));
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

/** Wraps `fs` so that `bytes` bytes can be written. Further writes throw, while all other operations still succeed. */
export function fullAfter(fs: WorkFileSystem, bytes: number): WorkFileSystem {
  let remaining = bytes;
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file);
    file.write = async (offset, piece) => {
      if (piece.byteLength > remaining) throw new Error("no space left on device");
      remaining -= piece.byteLength;
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
