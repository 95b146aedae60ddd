/**
 * Reads and writes the folder in which Hugging Face's tools cache downloads, so a file that another tool has downloaded
 * is not downloaded again. Each repository has a folder `models--OWNER--NAME/` or `datasets--OWNER--NAME/` with three
 * parts. `blobs/` holds the files, each under its digest. `snapshots/COMMIT/` holds the files of one commit under their
 * own names, as links to blobs. `refs/REVISION` holds the commit of a branch or a tag at the last download.
 */

import { basename, dirname } from "node:path/posix";
import { InUseError, ModelError } from "../../base/files/file_error.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { readText } from "../../base/files/whole_file.ts";
import type { HubReference } from "./reference.ts";

export interface CacheFileSystem extends WorkFileSystem {
  /** Creates a link at `path` to `target`. If the system does not support links, moves `target` to `path`. */
  link(target: string, path: string): Promise<void>;
}

/** The environment variables that determine the location of the cache. */
export interface CacheEnvironment {
  readonly HF_HUB_CACHE?: string;
  readonly HUGGINGFACE_HUB_CACHE?: string;
  readonly HF_HOME?: string;
  readonly XDG_CACHE_HOME?: string;
  readonly HOME?: string;
  readonly USERPROFILE?: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/** Returns the cache folder by the rules of `huggingface_hub`. @throws {ModelError} if no variable determines it */
export function cacheFolder(env: CacheEnvironment): string {
  const given = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (given) return given;
  if (env.HF_HOME) return `${env.HF_HOME}/hub`;
  const home = env.HOME || env.USERPROFILE;
  const parent = env.XDG_CACHE_HOME || (home && `${home}/.cache`);
  if (!parent) {
    throw new ModelError("the folder for downloaded models is unknown: set HF_HOME or HF_HUB_CACHE");
  }
  return `${parent}/huggingface/hub`;
}

/** Whether `text` is a commit hash, as opposed to the name of a branch or a tag. */
export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

export interface Repository {
  readonly type: "model" | "dataset";
  /** The name, in the form `OWNER/NAME`. */
  readonly name: string;
}

export function repositoryFolder({ type, name }: Repository): string {
  return `${type}s--${name.replace("/", "--")}`;
}

export class RepositoryCache {
  readonly #folder: string;
  readonly #locks: string;

  constructor(readonly fs: CacheFileSystem, cacheDir: string, readonly repository: Repository) {
    const name = repositoryFolder(repository);
    this.#folder = `${cacheDir}/${name}`;
    this.#locks = `${cacheDir}/.locks/${name}`;
  }

  snapshotFolder(commit: string): string {
    return `${this.#folder}/snapshots/${commit}`;
  }

  /** Creates the folder of blobs, and returns the path of the blob with this digest. The blob need not exist yet. */
  async prepareBlobPath(digest: string): Promise<string> {
    await this.fs.makeFolder(`${this.#folder}/blobs`);
    return `${this.#folder}/blobs/${digest}`;
  }

  async hasBlob(digest: string): Promise<boolean> {
    return (await this.fs.list(`${this.#folder}/blobs`))?.includes(digest) ?? false;
  }

  /** Whether the snapshot of a commit has a file. The files of a commit never change, so such a file is up to date. */
  async hasFile(commit: string, path: string): Promise<boolean> {
    return (await this.fs.list(dirname(this.filePath(commit, path))))?.includes(basename(path)) ?? false;
  }

  filePath(commit: string, path: string): string {
    return `${this.snapshotFolder(commit)}/${path}`;
  }

  /** Adds the blob that is stored at the path `blob` to a snapshot, as the file `path` of the repository. */
  async addToSnapshot(commit: string, path: string, blob: string): Promise<void> {
    await this.fs.makeFolder(dirname(this.filePath(commit, path)));
    await this.fs.link(blob, this.filePath(commit, path));
  }

  /**
   * Locks a blob, so that only one process downloads it.
   * @param name the file name for the error message
   * @throws {InUseError} if another process holds the lock
   */
  async lock(digest: string, name: string): Promise<AsyncDisposable> {
    await this.fs.makeFolder(this.#locks);
    const lock = await this.fs.lock(`${this.#locks}/${digest}.lock`);
    if (!lock) throw new InUseError(`${name}: another process is downloading it`);
    return lock;
  }

  /**
   * The commit to which a revision pointed at the last download. Undefined if it was never downloaded. A revision that
   * is a commit is returned as it is.
   */
  async readCommit({ revision }: HubReference): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const { folder, name } = this.#ref(revision);
    if (!(await this.fs.list(folder))?.includes(name)) return undefined;
    const commit = (await readText(this.fs, `${folder}/${name}`)).trim();
    return isCommit(commit) ? commit : undefined;
  }

  /** Records the commit to which a branch or a tag points. Does nothing if the revision is a commit itself. */
  async writeCommit({ revision }: HubReference, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const { folder, name } = this.#ref(revision);
    await this.fs.makeFolder(folder);
    const file = await this.fs.create(`${folder}/${name}`);
    await file.write(0, new TextEncoder().encode(commit));
    await file.close();
  }

  #ref(revision: string): { folder: string; name: string } {
    const path = `${this.#folder}/refs/${revision}`;
    return { folder: dirname(path), name: basename(path) };
  }
}
