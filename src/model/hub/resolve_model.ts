/**
 * Makes a model on the Hugging Face hub available as a folder of the cache that Hugging Face's tools share. Only the
 * configuration, the tokenizer, and the weights in one format are downloaded.
 */

import * as z from "zod/mini";
import { modelInfo } from "@huggingface/hub";
import { CONFIG_FILE } from "../checkpoint/checkpoint.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { findWeightFiles, readShardNames } from "../checkpoint/weight_files.ts";
import { extname } from "node:path/posix";
import { type CacheFileSystem, isCommit, type Repository, RepositoryCache } from "./cache.ts";
import { fetchFile } from "./download.ts";
import { HubAccess, type HubOptions, HubUnreachable, listFolder } from "./hub_access.ts";
import { type AnswerForm, checkedFetch } from "./limited_fetch.ts";
import { type HubReference, parseReference } from "./reference.ts";

/** The files to download besides the weights, if the repository has them. */
const SMALL_FILES = [
  CONFIG_FILE,
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "LICENSE",
  "README.md", // the model card
];

export interface HubProgress {
  /** The name of the current file. */
  readonly file: string;
  /** The number of files that are complete. */
  readonly done: number;
  /** The number of files to download. It grows when the index of a sharded model has been read. */
  readonly files: number;
  /** The number of bytes of the current file that have been received. */
  readonly bytes: number;
  /** The length of the current file, in bytes. */
  readonly byteLength: number;
}

export interface ResolveOptions extends HubOptions {
  readonly fs: CacheFileSystem;
  readonly cacheDir: string;
  /** Whether to use only the cache and send no request. */
  readonly offline?: boolean;
  /** Called repeatedly during a download. */
  readonly progress?: (state: HubProgress) => void;
  /** Called with one line of text if the hub cannot be reached and the cache is used instead. */
  readonly remark?: (line: string) => void;
}

/**
 * Returns the path of the folder with the model that `reference` (`hf:OWNER/NAME[@REVISION]`) names, and downloads its
 * missing files first. No request is sent if the revision is a commit whose configuration and weights are in the cache.
 * Otherwise the hub is asked for the commit of the revision. If the hub is unreachable, the last downloaded commit is
 * used.
 * @throws {ModelError} if the model does not exist, may not be accessed, has no weights that Pare can read, or is not
 * in the cache while `offline` is set
 * @throws {HubUnreachable} if the hub cannot be reached and the cache does not have the model
 * @throws {InUseError} if another process is downloading a file of the model
 */
export async function resolveModel(reference: string, options: ResolveOptions): Promise<string> {
  const wanted = parseReference(reference);
  const access = new HubAccess(reference, options);
  const cache = new RepositoryCache(options.fs, options.cacheDir, { type: "model", name: wanted.repo });
  const cached = await findCompleteSnapshot(cache, wanted);
  if (cached !== undefined && (options.offline || isCommit(wanted.revision))) return cached;
  if (options.offline) {
    throw new ModelError(
      `${reference}: is not complete in ${options.cacheDir}, and HF_HUB_OFFLINE forbids downloads`,
    );
  }
  try {
    const commit = await currentCommit(access, wanted, cached === undefined);
    await fetchSnapshot(cache, access, { reference, commit }, options.progress);
    await cache.writeCommit(wanted, commit);
    return cache.snapshotFolder(commit);
  } catch (error) {
    if (!(error instanceof HubUnreachable) || cached === undefined) throw error;
    options.remark?.(`${error.message}; using the cached files`);
    return cached;
  }
}

/**
 * Returns the reference of the model's current commit, and an upper bound of the bytes that `resolveModel` downloads for it.
 * Nothing is downloaded.
 * @throws {ModelError} {HubUnreachable} as `resolveModel`
 */
export async function measureModel(
  reference: string,
  options: HubOptions,
): Promise<{ readonly reference: string; readonly bytes: number }> {
  const wanted = parseReference(reference), access = new HubAccess(reference, options);
  const commit = await currentCommit(access, wanted, true);
  const { entries, format } = await listModel(
    access,
    { type: "model", name: wanted.repo },
    reference,
    commit,
  );
  const suffix = extname(format.weights);
  const files = [...entries.values()].filter(({ path }) =>
    SMALL_FILES.includes(path) || path === format.index || path.endsWith(suffix)
  );
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  return { reference: `hf:${wanted.repo}@${commit}`, bytes };
}

/** Returns the folder of a cached snapshot, or undefined if its configuration or one of its weight files is missing. */
async function findCompleteSnapshot(
  cache: RepositoryCache,
  wanted: HubReference,
): Promise<string | undefined> {
  const commit = await cache.readCommit(wanted);
  if (commit === undefined) return undefined;
  const folder = cache.snapshotFolder(commit);
  const files = await cache.fs.list(folder) ?? [];
  const found = findWeightFiles(files);
  if (!found || !files.includes(CONFIG_FILE)) return undefined;
  if (!found.isSharded) return folder;
  try {
    await readShardNames(cache.fs, folder, files, found.format.index);
    return folder;
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

const REPOSITORY: AnswerForm = {
  schema: z.object({ sha: z.string() }),
  maxPages: 1,
  name: "the description of a repository",
};

/** Asks the hub for the commit of a reference. @param shouldRetry whether to retry transient failures */
async function currentCommit(
  access: HubAccess,
  { repo, revision }: HubReference,
  shouldRetry: boolean,
): Promise<string> {
  const requestInfo = () =>
    access.request(() => {
      const client = { ...access.client, fetch: checkedFetch(access.client.fetch, REPOSITORY) };
      return modelInfo({ ...client, name: repo, revision, additionalFields: ["sha"] });
    });
  const { sha } = shouldRetry ? await access.retry(requestInfo) : await requestInfo();
  if (!isCommit(sha)) throw new ModelError(`hf:${repo}: the hub names no valid commit for ${revision}`);
  return sha;
}

interface Snapshot {
  /** The model reference, for error messages. */
  readonly reference: string;
  readonly commit: string;
}

/** Lists the files of a commit, with the form of its weights. @throws {ModelError} if it has no configuration or no weights */
async function listModel(access: HubAccess, repository: Repository, reference: string, commit: string) {
  const entries = await access.retry(() => access.request(() => listFolder(access, repository, commit)));
  const found = findWeightFiles([...entries.keys()]);
  if (found && entries.has(CONFIG_FILE)) return { entries, ...found };
  throw new ModelError(
    `${reference}: has no ${found ? CONFIG_FILE : "weights in safetensors or in pytorch_model.bin"}`,
  );
}

/** Downloads the missing files of a snapshot. The weights come last, so a snapshot that has them is complete. */
async function fetchSnapshot(
  cache: RepositoryCache,
  access: HubAccess,
  { reference, commit }: Snapshot,
  progress: ResolveOptions["progress"],
): Promise<void> {
  const { entries, format, isSharded } = await listModel(access, cache.repository, reference, commit);
  const files = [...entries.keys()];
  const queue = [
    ...SMALL_FILES.filter((name) => entries.has(name)),
    isSharded ? format.index : format.weights,
  ];
  for (let done = 0; done < queue.length; done++) {
    const entry = entries.get(queue[done])!; // every name in the queue is in the listing
    const report = (bytes: number) =>
      progress?.({ file: entry.path, done, files: queue.length, bytes, byteLength: entry.size });
    report(0);
    await fetchFile(cache, access, { commit, entry }, report);
    if (entry.path === format.index) {
      queue.push(...await readShardNames(cache.fs, cache.snapshotFolder(commit), files, format.index));
    }
  }
}
