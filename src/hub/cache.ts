/**
 * The cache folder that Hugging Face's own tools share: `models--OWNER--NAME/` with `blobs/`, named by their digests,
 * `snapshots/COMMIT/` of links to them, and `refs/`, the commit that a branch or a tag was last seen at. It downloads nothing.
 */

import { ModelError } from "../files/model_error.ts";
import type { WorkFileSystem } from "../files/file_system.ts";
import { readText } from "../files/json_file.ts";
import type { HubReference } from "./reference.ts";

/** What the cache needs of a file system besides. */
export interface CacheFileSystem extends WorkFileSystem {
  /** Makes `path` a link to `target`, both in one cache; or moves it there where the system has no links. */
  link(target: string, path: string): Promise<void>;
}

/** The environment variables that say where the cache is. */
export interface CacheEnvironment {
  readonly HF_HUB_CACHE?: string;
  readonly HUGGINGFACE_HUB_CACHE?: string;
  readonly HF_HOME?: string;
  readonly XDG_CACHE_HOME?: string;
  readonly HOME?: string;
  readonly USERPROFILE?: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/** Where the cache is, by the rules of `huggingface_hub`. @throws {ModelError} no variable tells */
export function cacheFolder(env: CacheEnvironment): string {
  const given = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (given) return given;
  if (env.HF_HOME) return `${env.HF_HOME}/hub`;
  const home = env.HOME || env.USERPROFILE;
  const parent = env.XDG_CACHE_HOME || (home && `${home}/.cache`);
  if (!parent) {
    throw new ModelError("the folder for models of the hub is not known: set HF_HOME or HF_HUB_CACHE");
  }
  return `${parent}/huggingface/hub`;
}

/** Whether `text` is a commit rather than a branch or a tag. */
export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

/** The part of the cache that holds one model. */
export class ModelCache {
  readonly #folder: string;
  readonly #locks: string;

  constructor(readonly fs: CacheFileSystem, cacheDir: string, repo: string) {
    const name = `models--${repo.replace("/", "--")}`;
    this.#folder = `${cacheDir}/${name}`;
    this.#locks = `${cacheDir}/.locks/${name}`;
  }

  snapshot(commit: string): string {
    return `${this.#folder}/snapshots/${commit}`;
  }

  /** Where a blob lies when it is whole. */
  async blob(digest: string): Promise<string> {
    await this.fs.makeFolder(`${this.#folder}/blobs`);
    return `${this.#folder}/blobs/${digest}`;
  }

  async hasBlob(digest: string): Promise<boolean> {
    return (await this.fs.list(`${this.#folder}/blobs`))?.includes(digest) ?? false;
  }

  /** Whether a snapshot has a file: what a commit has never changes. */
  async hasFile(commit: string, name: string): Promise<boolean> {
    return (await this.fs.list(this.snapshot(commit)))?.includes(name) ?? false;
  }

  /** Shows a blob under its name in a snapshot. */
  async addToSnapshot(commit: string, name: string, blob: string): Promise<void> {
    await this.fs.makeFolder(this.snapshot(commit));
    await this.fs.link(blob, `${this.snapshot(commit)}/${name}`);
  }

  /** Holds a blob for one process. @throws {ModelError} another holds it */
  async lock(digest: string, name: string): Promise<AsyncDisposable> {
    await this.fs.makeFolder(this.#locks);
    const lock = await this.fs.lock(`${this.#locks}/${digest}.lock`);
    if (!lock) throw new ModelError(`${name}: another process is downloading it`);
    return lock;
  }

  /** The commit that `revision` was last seen at; undefined where it never was. */
  async commitOf({ revision }: HubReference): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const { folder, name } = this.#ref(revision);
    if (!(await this.fs.list(folder))?.includes(name)) return undefined;
    const commit = (await readText(this.fs, `${folder}/${name}`)).trim();
    return isCommit(commit) ? commit : undefined;
  }

  async remember({ revision }: HubReference, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const { folder, name } = this.#ref(revision);
    await this.fs.makeFolder(folder);
    const file = await this.fs.create(`${folder}/${name}`);
    await file.write(0, new TextEncoder().encode(commit));
    await file.close();
  }

  #ref(revision: string): { folder: string; name: string } {
    const path = `${this.#folder}/refs/${revision}`;
    const slash = path.lastIndexOf("/");
    return { folder: path.slice(0, slash), name: path.slice(slash + 1) };
  }
}
