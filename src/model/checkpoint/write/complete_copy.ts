/**
 * A complete copy of a checkpoint, and the digests by which a later process finds damage in its files. A disk, an interrupted
 * `rsync` or a person may have changed the files, and such a change must not reach the finished checkpoint.
 */

import { DamagedFileError } from "../../../base/files/file_error.ts";
import { digestBytes, digestRange } from "../../../base/files/chunks.ts";
import type { FileSystem, ReadableFile, WorkFileSystem } from "../../../base/files/file_system.ts";
import { TEMPORARY_SUFFIX } from "../../../base/files/whole_file.ts";
import { listFolders } from "../nested_files.ts";
import type { WeightFile } from "../weight_files.ts";
import { PartialFolder } from "./partial_folder.ts";
import { plannedFiles, tensorFiles, type WritePlan } from "./write_plan.ts";

/** Digests in hexadecimal, by the name of a tensor or by the final name of a file. */
export type Digests = ReadonlyMap<string, string>;

/** A copy whose files are on the disk, so that only their temporary names have to be changed. */
export class CompleteCopy {
  readonly #folder: PartialFolder;
  readonly #names: ReadonlySet<string>;
  readonly #workNames: ReadonlySet<string>;

  /**
   * @param names the final names of all files of the copy
   * @param workNames the names of the files that the copy does not need any more
   */
  constructor(
    folder: PartialFolder,
    names: ReadonlySet<string>,
    readonly digests: Digests,
    workNames: ReadonlySet<string>,
  ) {
    this.#folder = folder;
    this.#names = names;
    this.#workNames = workNames;
  }

  /** Gives every file its final name, and replaces an older checkpoint. Idempotent, also after a kill. */
  async publish(): Promise<void> {
    await this.#folder.removeTemporary(this.#workNames);
    await this.#folder.publish(this.#names);
  }
}

/**
 * Returns the copy that an earlier process completed in `folder`, as the caller knows from a journal.
 * @param expected the digests of its files
 * @throws {DamagedFileError} if a file is missing or does not have its digest
 */
export async function findCompleteCopy(
  plan: WritePlan,
  folder: string,
  fs: WorkFileSystem,
  expected: Digests,
  extraFiles: readonly string[] = [],
): Promise<CompleteCopy> {
  const names = plannedFiles(plan, extraFiles), partial = new PartialFolder(fs, folder);
  const digests = await digestCopy(plan.weightFiles, partial, names);
  const damaged = [...names].find((name) => digests.get(name) !== expected.get(name));
  if (damaged === undefined) return new CompleteCopy(partial, names, digests, workNames(plan));
  throw new DamagedFileError(`${folder}/${damaged}: does not have the bytes that were written`);
}

/** Returns the names of the files that only an unfinished copy has. */
export function workNames({ workFiles = [] }: WritePlan): ReadonlySet<string> {
  return new Set(workFiles.map(({ name }) => name));
}

/** Returns the digests that tensors have in the temporary files in `folder`. A tensor of a missing or short file is left out. */
export async function digestTensors(
  plan: WritePlan,
  folder: string,
  fs: FileSystem,
  names: Iterable<string>,
): Promise<Digests> {
  const wanted = new Set(names), found = new Map<string, string>();
  const existing = await fs.list(folder) ?? [];
  for (const { name, header } of tensorFiles(plan)) {
    const tensors = header.tensors.filter((tensor) => wanted.has(tensor.name));
    if (tensors.length === 0 || !existing.includes(name + TEMPORARY_SUFFIX)) continue;
    await withFile(fs, `${folder}/${name}${TEMPORARY_SUFFIX}`, async (file) => {
      for (const { name, begin, end } of tensors) {
        const digest = await digestRange(file, header.headerBytes + begin, end - begin);
        if (digest !== undefined) found.set(name, digest);
      }
    });
  }
  return found;
}

/**
 * Removes the temporary weight files that are longer than the files that they will become, because the surplus bytes would make
 * the finished files invalid. Returns the paths of the removed files.
 */
export async function removeLongFiles(
  plan: WritePlan,
  folder: string,
  fs: FileSystem,
): Promise<string[]> {
  const existing = await fs.list(folder) ?? [], removed: string[] = [];
  for (const { name, header: { headerBytes, dataBytes } } of tensorFiles(plan)) {
    const path = `${folder}/${name}${TEMPORARY_SUFFIX}`;
    if (!existing.includes(name + TEMPORARY_SUFFIX)) continue;
    const isLong = await withFile(fs, path, (file) => file.byteLength > headerBytes + dataBytes);
    if (!isLong) continue;
    await fs.remove(path);
    removed.push(path);
  }
  return removed;
}

/**
 * Computes the digest of every file of a complete copy, under its temporary name or under its final name.
 * @param tensors the digests that tensors must have
 * @throws {DamagedFileError} if a file is missing, if a weight file has another length, or if a tensor has another digest
 */
export async function digestCopy(
  weightFiles: readonly WeightFile[],
  { fs, folder }: PartialFolder,
  names: ReadonlySet<string>,
  tensors: Digests = new Map(),
): Promise<Digests> {
  const existing = await listFolders(fs, folder, names), digests = new Map<string, string>();
  for (const name of names) {
    const found = [name + TEMPORARY_SUFFIX, name].find((candidate) => existing.has(candidate));
    if (found === undefined) throw new DamagedFileError(`${folder}/${name}: is missing`);
    const path = `${folder}/${found}`, planned = weightFiles.find((file) => file.name === name);
    const digest = await withFile(
      fs,
      path,
      async (file) =>
        planned
          ? await digestWeightFile(path, file, planned, tensors)
          : await digestRange(file, 0, file.byteLength),
    );
    digests.set(name, digest!); // the range ends with the file
  }
  return digests;
}

/**
 * Returns the digest of a weight file: the digest of the list of the digests of its header and of its tensors. The file is read
 * only once, because the digests of the tensors give the digest of the file.
 */
async function digestWeightFile(
  path: string,
  file: ReadableFile,
  { header: { headerBytes, dataBytes, tensors } }: WeightFile,
  expected: Digests,
): Promise<string> {
  if (file.byteLength !== headerBytes + dataBytes) {
    throw new DamagedFileError(
      `${path}: has ${file.byteLength} bytes, but must have ${headerBytes + dataBytes}`,
    );
  }
  const digests = [await digestRange(file, 0, headerBytes)];
  for (const { name, begin, end } of tensors) {
    const digest = await digestRange(file, headerBytes + begin, end - begin);
    if (digest !== (expected.get(name) ?? digest)) {
      throw new DamagedFileError(`${path}: ${name} does not have the bytes that were written`);
    }
    digests.push(digest);
  }
  return digestBytes(digests.join("\n"));
}

async function withFile<T>(
  fs: FileSystem,
  path: string,
  use: (file: ReadableFile) => T | Promise<T>,
): Promise<T> {
  const file = await fs.open(path);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
