/** File systems for trying many runs: one that counts the changes of files, and one that does not wait for the disk. */

import type { EditableFile, WorkFileSystem, WritableFile } from "../../../src/base/files/file_system.ts";

/** Returns `fs` with calls of `sync` and `syncFolder` that do nothing. */
export function withoutSync(fs: WorkFileSystem): WorkFileSystem {
  const done = () => Promise.resolve();
  return {
    ...fs,
    create: async (...args) => Object.assign(await fs.create(...args), { sync: done }),
    edit: async (path) => Object.assign(await fs.edit(path), { sync: done }),
    syncFolder: done,
  };
}

/** Returns `fs` with a function that returns how many changes of files and folders were made. */
export function countingChanges(fs: WorkFileSystem): { fs: WorkFileSystem; count: () => number } {
  let changes = 0;
  const counting = <T extends unknown[], R>(change: (...args: T) => R) => (...args: T) => {
    changes++;
    return change(...args);
  };
  const watch = <F extends WritableFile | EditableFile>(file: F): F =>
    Object.assign(file, { write: counting(file.write.bind(file)), sync: counting(file.sync.bind(file)) });
  return {
    count: () => changes,
    fs: {
      ...fs,
      create: async (path) => watch(await counting(fs.create)(path)),
      edit: async (path) => watch(await counting(fs.edit)(path)),
      makeFolder: counting(fs.makeFolder),
      rename: counting(fs.rename),
      remove: counting(fs.remove),
      removeFolder: counting(fs.removeFolder),
      syncFolder: counting(fs.syncFolder),
    },
  };
}
