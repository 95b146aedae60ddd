/** File systems that simulate a fault: a process that is killed, or a disk that is full. */

import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { FileError } from "../../src/base/files/file_error.ts";
import type { WorkFileSystem, WritableFile } from "../../src/base/files/file_system.ts";
import { assertSame } from "./assert_same.ts";
import { readFolder } from "./temporary_folder.ts";

/** The error of all operations after the simulated kill. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/**
 * Wraps `fs` so that only the first `operations` changes of files or folders succeed. All later changes throw
 * {@link Killed}. If the first failing change is a write, it writes half of its bytes before it throws. `count()` returns the
 * number of changes so far.
 */
export function killedAfter(fs: WorkFileSystem, operations: number): WorkFileSystem & { count(): number } {
  let count = 0;
  const step = async <T>(change: () => Promise<T>) => {
    if (count >= operations) throw new Killed("killed");
    count++;
    return await change();
  };
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file), sync = file.sync.bind(file);
    file.sync = () => step(sync);
    file.write = async (offset, bytes) => {
      if (count === operations) await write(offset, bytes.subarray(0, bytes.byteLength >> 1));
      await step(() => write(offset, bytes));
    };
    return file;
  };
  return {
    ...fs,
    count: () => count,
    create: async (...args) => watch(await step(() => fs.create(...args))),
    edit: async (path) => watch(await step(() => fs.edit(path))),
    makeFolder: (...args) => step(() => fs.makeFolder(...args)),
    rename: (from, to) => step(() => fs.rename(from, to)),
    remove: (path) => step(() => fs.remove(path)),
    removeFolder: (path) => step(() => fs.removeFolder(path)),
    syncFolder: (path) => step(() => fs.syncFolder(path)),
  };
}

/**
 * Asserts that a run ends in the same files as an uninterrupted run, after it was killed at any change of a file and then
 * continued. Ends when a run has fewer changes than the next number to try.
 *
 * @param run runs in a folder, or continues the run in it
 * @param expected the folder of the uninterrupted run
 * @param out the folder in which runs are killed; it is removed after each of them
 * @param stride how many changes the next run makes more before it is killed
 * @param least the least number of changes that the last run must have made
 * @throws {AssertionError}
 */
export async function assertSameAfterKills(
  run: (out: string, fs: WorkFileSystem) => Promise<unknown>,
  expected: string,
  out: string,
  stride: number,
  least = 50,
): Promise<void> {
  let stops = 0;
  for (let done = false; !done; stops += stride) {
    done = await run(out, killedAfter(denoFileSystem, stops)).then(() => true, (error) => {
      assert.ok(firstCause(error) instanceof Killed, String(error));
      return false;
    });
    if (!done) await run(out, denoFileSystem);
    assertSame(await readFolder(out), await readFolder(expected), `stopped after ${stops} changes`);
    await Deno.remove(out, { recursive: true });
  }
  assert.ok(stops > least, `stopped after at most ${stops} changes`);
}

/**
 * Wraps `fs` as a disk that has space for `bytes` more bytes. Writes beyond that throw, and all other operations succeed. A
 * file that is removed makes room for the bytes that were written to it.
 */
export function fullAfter(fs: WorkFileSystem, bytes: number): WorkFileSystem {
  let free = bytes;
  const written = new Map<string, number>();
  const watch = <F extends WritableFile>(path: string, file: F): F => {
    const write = file.write.bind(file);
    file.write = async (offset, piece) => {
      if (piece.byteLength > free) throw new FileError(path, "ENOSPC", "");
      free -= piece.byteLength;
      written.set(path, (written.get(path) ?? 0) + piece.byteLength);
      await write(offset, piece);
    };
    return file;
  };
  const forget = (path: string) => {
    const size = written.get(path) ?? 0;
    written.delete(path);
    return size;
  };
  return {
    ...fs,
    create: async (path, mode) => watch(path, await fs.create(path, mode)),
    edit: async (path) => watch(path, await fs.edit(path)),
    rename: async (from, to) => {
      await fs.rename(from, to);
      written.set(to, forget(from));
    },
    remove: async (path) => {
      await fs.remove(path);
      free += forget(path);
    },
  };
}

/**
 * Wraps `fs` as a disk that is full from its write number `writes` on, where the first write has the number 0.
 * That write stores half of its bytes before it throws, as a file system does whose last blocks it takes. All
 * operations but writes succeed. `count()` returns the number of writes so far.
 */
export function fullFromWrite(fs: WorkFileSystem, writes: number): WorkFileSystem & { count(): number } {
  let count = 0;
  const watch = <F extends WritableFile>(file: F): F => {
    const write = file.write.bind(file);
    file.write = async (offset, bytes) => {
      const number = count++;
      if (number < writes) return await write(offset, bytes);
      if (number === writes) await write(offset, bytes.subarray(0, bytes.byteLength >> 1));
      throw new Error("no space left on device");
    };
    return file;
  };
  return {
    ...fs,
    count: () => count,
    create: async (...args) => watch(await fs.create(...args)),
    edit: async (path) => watch(await fs.edit(path)),
  };
}

/** Returns the error that was thrown first, if further ones were thrown while resources were released. */
export function firstCause(error: unknown): unknown {
  return error instanceof SuppressedError ? firstCause(error.suppressed) : error;
}
