/**
 * Represents a complete copy of a checkpoint. All files of the copy are on the disk, under temporary names
 * (`partial_folder.ts`). The only remaining step is to publish it, which gives the files their final names.
 */

import { DamagedFileError } from "../files/damaged_file_error.ts";
import type { WorkFileSystem } from "../files/file_system.ts";
import { type Checkpoint, countWeightFileBytes } from "./checkpoint.ts";
import { digestCopy, type Digests } from "./copy_digests.ts";
import { isCopiedFile, PartialFolder } from "./partial_folder.ts";
import { INDEX_FILE } from "./weight_files.ts";

/** A copy that can only be published. `OpenCopy.complete` returns it, and so does {@link findCompleteCopy}. */
export class CompleteCopy {
  readonly #folder: PartialFolder;
  readonly #names: ReadonlySet<string>;

  /** @param names the final names of all files of the copy */
  constructor(
    folder: PartialFolder,
    names: ReadonlySet<string>,
    /** The digests of the files by final name, as `digestCopy` computes them. */
    readonly digests: Digests,
  ) {
    this.#folder = folder;
    this.#names = names;
  }

  /**
   * Gives every file its final name, config.json last. An older checkpoint in the folder is replaced.
   * Idempotent. If the process is killed during the call, a later process can call `publish` again.
   */
  async publish(): Promise<void> {
    await this.#folder.publish(this.#names);
  }
}

/**
 * Returns the copy of `checkpoint` that an earlier process completed in `folder`. The caller must know that the copy is complete,
 * for example from a journal.
 *
 * @param expected the digests of the files of the complete copy
 * @param extraFiles the names of the files that the earlier process added to the copy
 * @throws {DamagedFileError} if a file is missing or does not have its digest
 */
export async function findCompleteCopy(
  checkpoint: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  expected: Digests,
  extraFiles: readonly string[] = [],
): Promise<CompleteCopy> {
  const names = await namesOfCopy(checkpoint, extraFiles);
  const digests = await digestCopy(checkpoint, folder, fs, names);
  const damaged = [...names].find((name) => digests.get(name) !== expected.get(name));
  if (damaged !== undefined) {
    throw new DamagedFileError(`${folder}/${damaged}: does not have the bytes that were written`);
  }
  return new CompleteCopy(new PartialFolder(fs, folder), names, digests);
}

/** Lists the final names of all files of a copy: weights, index, copied files and `extraFiles`. */
export async function namesOfCopy(
  checkpoint: Checkpoint,
  extraFiles: readonly string[],
): Promise<ReadonlySet<string>> {
  return new Set([
    ...checkpoint.shards.map(({ name }) => name),
    ...await checkpoint.indexFile() ? [INDEX_FILE] : [],
    ...namesToCopy(checkpoint, extraFiles),
    ...extraFiles,
  ]);
}

/** Adds up the bytes of all files of a copy without `extraFiles`, which the caller writes. */
export async function countCopyBytes(
  checkpoint: Checkpoint,
  fs: WorkFileSystem,
  extraFiles: readonly string[],
): Promise<number> {
  let bytes = countWeightFileBytes(checkpoint) + (await checkpoint.indexFile() ?? []).length;
  for (const name of namesToCopy(checkpoint, extraFiles)) {
    const file = await fs.open(`${checkpoint.folder}/${name}`);
    bytes += file.byteLength;
    await file.close();
  }
  return bytes;
}

/**
 * Lists the files of `checkpoint` that are copied unchanged. Files whose names are in `extraFiles` are not
 * listed, because the caller writes them.
 */
export function namesToCopy({ files }: Checkpoint, extraFiles: readonly string[]): string[] {
  return files.filter((name) => isCopiedFile(name) && !extraFiles.includes(name));
}
