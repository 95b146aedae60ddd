/**
 * A model of the hub as a folder on this machine: what makes a model here is fetched into the cache that Hugging Face's tools share,
 * unless it is there. That is its configuration, its tokenizer and its weights in one format; other frameworks' weights, pictures and
 * training states stay on the hub.
 */

import { type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { CONFIG_FILE } from "../checkpoint/checkpoint.ts";
import { ModelError } from "../files/model_error.ts";
import { findWeights, shardNames } from "../checkpoint/weight_files.ts";
import { type CacheFileSystem, isCommit, ModelCache } from "./cache.ts";
import { fetchFile } from "./download.ts";
import { HubAccess, type HubOptions, HubUnreachable } from "./hub_access.ts";
import { type HubReference, parseReference } from "./reference.ts";

/** What goes with the weights, as far as it is there. */
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
];

/** How far a file has come. */
export interface HubProgress {
  readonly file: string;
  /** Files that are there. */
  readonly done: number;
  /** Files wanted, as far as it is known: an index tells of more. */
  readonly files: number;
  /** Of this file. */
  readonly bytes: number;
  readonly byteLength: number;
}

/** Where a model comes from and where it goes. */
export interface ResolveOptions extends HubOptions {
  readonly fs: CacheFileSystem;
  readonly cacheDir: string;
  /** Take what the cache has and ask nothing. */
  readonly offline?: boolean;
  readonly progress?: (state: HubProgress) => void;
  /** Told where the cache serves because the hub is out of reach. */
  readonly remark?: (line: string) => void;
}

/**
 * The folder with the model that `reference`, `hf:OWNER/NAME[@REVISION]`, names. A commit that is in the cache whole is
 * not asked for; a branch or a tag is, and the cache serves if the hub is out of reach.
 * @throws {ModelError} it is not there, not allowed, or not a model with weights that can be read
 */
export async function resolveModel(reference: string, options: ResolveOptions): Promise<string> {
  const wanted = parseReference(reference);
  const access = new HubAccess(reference, options);
  const cache = new ModelCache(options.fs, options.cacheDir, wanted.repo);
  const cached = await wholeSnapshot(cache, wanted);
  if (cached !== undefined && (options.offline || isCommit(wanted.revision))) return cached;
  if (options.offline) {
    throw new ModelError(
      `${reference}: is not in ${options.cacheDir} whole, and HF_HUB_OFFLINE forbids to fetch it`,
    );
  }
  try {
    const commit = await currentCommit(access, wanted, cached === undefined);
    await fetchSnapshot(cache, access, { reference, repo: wanted.repo, commit }, options.progress);
    await cache.remember(wanted, commit);
    return cache.snapshot(commit);
  } catch (error) {
    if (!(error instanceof HubUnreachable)) throw error;
    if (cached === undefined) throw new ModelError(error.message, { cause: error });
    options.remark?.(`${error.message}; going on with what the cache has`);
    return cached;
  }
}

/** The snapshot that the cache has of a reference; undefined where it lacks the configuration or a weight file. */
async function wholeSnapshot(cache: ModelCache, wanted: HubReference): Promise<string | undefined> {
  const commit = await cache.commitOf(wanted);
  if (commit === undefined) return undefined;
  const folder = cache.snapshot(commit);
  const files = await cache.fs.list(folder) ?? [];
  const found = findWeights(files);
  if (!found || !files.includes(CONFIG_FILE)) return undefined;
  if (!found.isSharded) return folder;
  try {
    await shardNames(cache.fs, folder, files, found.format.index);
    return folder;
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

/** The commit that the hub has for a reference. */
async function currentCommit(
  access: HubAccess,
  { repo, revision }: HubReference,
  patient: boolean,
): Promise<string> {
  const ask = () =>
    access.ask(() => modelInfo({ ...access.client, name: repo, revision, additionalFields: ["sha"] }));
  const { sha } = patient ? await access.retry(ask) : await ask();
  if (!isCommit(sha)) throw new ModelError(`hf:${repo}: the hub gives no commit for ${revision}`);
  return sha;
}

interface Snapshot {
  readonly reference: string;
  readonly repo: string;
  readonly commit: string;
}

/** The weights come last: a snapshot that has them is whole. */
async function fetchSnapshot(
  cache: ModelCache,
  access: HubAccess,
  { reference, repo, commit }: Snapshot,
  progress: ResolveOptions["progress"],
): Promise<void> {
  const entries = await access.retry(() => access.ask(() => topFolder(access, repo, commit)));
  const files = [...entries.keys()];
  const found = findWeights(files);
  if (!found || !entries.has(CONFIG_FILE)) {
    throw new ModelError(
      `${reference}: has no ${found ? CONFIG_FILE : "weights in safetensors or in pytorch_model.bin"}`,
    );
  }
  const { format, isSharded } = found;
  const queue = [
    ...SMALL_FILES.filter((name) => entries.has(name)),
    isSharded ? format.index : format.weights,
  ];
  for (let done = 0; done < queue.length; done++) {
    const entry = entries.get(queue[done])!; // it is of the listing
    const tell = (bytes: number) =>
      progress?.({ file: entry.path, done, files: queue.length, bytes, byteLength: entry.size });
    tell(0);
    await fetchFile(cache, access, { repo, commit, entry }, tell);
    if (entry.path === format.index) {
      queue.push(...await shardNames(cache.fs, cache.snapshot(commit), files, format.index));
    }
  }
}

/** The files of a repository that are in no folder. */
async function topFolder(
  access: HubAccess,
  repo: string,
  commit: string,
): Promise<Map<string, ListFileEntry>> {
  const entries = new Map<string, ListFileEntry>();
  for await (const entry of listFiles({ ...access.client, repo, revision: commit })) {
    if (entry.type === "file" && !/[\\/]/.test(entry.path)) entries.set(entry.path, entry);
  }
  return entries;
}
