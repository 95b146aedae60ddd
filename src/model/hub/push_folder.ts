/**
 * Uploads the files of a folder to a repository of the Hugging Face hub. Large files are uploaded first, as objects of
 * Git LFS. The last request is the commit that adds all files, so an interrupted upload changes no file of the
 * repository. The hub keeps the objects, and another attempt does not upload them again.
 */

import { pathToFileURL } from "node:url";
import * as z from "zod/mini";
import { commitIter, type CommitOutput, createRepo, HubApiError, modelInfo } from "@huggingface/hub";
import { ModelError } from "../../base/files/file_error.ts";
import type { Repository } from "./cache.ts";
import { HubAccess, type HubOptions, listFolder } from "./hub_access.ts";
import { type AnswerForm, checkedFetch } from "./limited_fetch.ts";

export interface PushOptions extends HubOptions {
  readonly accessToken: string;
  /** The absolute path of the folder. */
  readonly folder: string;
  /** The names of the files to upload. */
  readonly files: readonly string[];
  /** The name of the repository, `OWNER/NAME`. It is created if it does not exist. */
  readonly repo: string;
  /** Whether the repository must be private. @default false: a new repository is as the hub decides */
  readonly isPrivate?: boolean;
  /** Called during the upload with the bytes of sent large files, and with the current work, such as `hashing FILE`. */
  progress?(sentBytes: number, work: string): void;
}

/** The time limit of a request is `REQUEST_MS` plus the time that its body takes at the slowest rate. */
const REQUEST_MS = 60_000, SLOWEST_BYTES_PER_MS = 20;

/** Matches weight files that a loader could choose, and their indexes, but not the states of a training program. */
const LOADED_FILE = /^(?!(training_args|optimizer)\.bin$).*\.(safetensors|bin)(\.index\.json)?$/;

/**
 * Uploads the files in one commit, and returns the commit.
 * @throws {ModelError} if the hub refuses the token or a request, if the repository exists and is not private although
 * it must be, or if it has weight files that loaders could prefer to the files of the folder
 * @throws {HubUnreachable} if the hub cannot be reached
 */
export async function pushFolder(options: PushOptions): Promise<CommitOutput["commit"]> {
  const { repo: name, folder, files, accessToken, signal } = options;
  const repo: Repository = { type: "model", name };
  const advice =
    `The token in HF_TOKEN may not write to ${name}: it needs write access, and the owner must be yours`;
  const access = new HubAccess(name, { advice, ...options });
  if (!await createRepository(access, repo, options)) await refuseOtherWeights(access, repo, files);
  let sentBytes = 0, current = "";
  const report = () => options.progress?.(sentBytes, current);
  const fetch = withTimeLimit(access.client.fetch, (bytes) => {
    sentBytes += bytes;
    report();
  });
  const commit = async () => {
    const events = commitIter({
      ...access.client,
      ...{ accessToken, fetch, repo, title: "Upload a model that was pruned with Pare", abortSignal: signal },
      useXet: false, // uploads as objects of Git LFS, which every hub accepts
      operations: files.map((path) => ({
        operation: "addOrUpdate",
        path,
        content: pathToFileURL(`${folder}/${path}`),
      })),
    });
    for (;;) {
      const { done, value } = await events.next();
      if (done) return value!.commit; // only a bucket has no commit
      if (value.event === "fileProgress") current = `${value.state} ${value.path}`;
      report();
    }
  };
  return await access.retry(() => access.attempt(commit), () => sentBytes);
}

/**
 * Creates a repository. Returns false if it exists.
 * @throws {ModelError} if it exists, but is not private as it must be
 */
async function createRepository(
  access: HubAccess,
  repo: Repository,
  { accessToken, isPrivate }: PushOptions,
): Promise<boolean> {
  const visibility = isPrivate ? "private" : undefined;
  try {
    await access.retry(() =>
      access.request(() => createRepo({ ...access.client, accessToken, repo, visibility }))
    );
    return true;
  } catch (error) {
    const isTaken = error instanceof ModelError && error.cause instanceof HubApiError &&
      error.cause.statusCode === 409;
    if (!isTaken) throw error;
  }
  if (isPrivate && !await isPrivateRepository(access, repo)) {
    throw new ModelError(
      `${repo.name}: exists and is not private; change it on the hub, or push to another repository`,
    );
  }
  return false;
}

const VISIBILITY: AnswerForm = {
  schema: z.object({ private: z.boolean() }),
  maxPages: 1,
  name: "the description of a repository",
};

async function isPrivateRepository(access: HubAccess, { name }: Repository): Promise<boolean> {
  const ask = () =>
    modelInfo({ ...access.client, name, fetch: checkedFetch(access.client.fetch, VISIBILITY) });
  return (await access.retry(() => access.request(ask))).private;
}

/** @throws {ModelError} if the repository has weight files that are not among `files` */
async function refuseOtherWeights(
  access: HubAccess,
  repo: Repository,
  files: readonly string[],
): Promise<void> {
  const existing = await access.retry(() => access.request(() => listFolder(access, repo, "main")));
  const others = [...existing.keys()].filter((name) => LOADED_FILE.test(name) && !files.includes(name));
  if (others.length === 0) return;
  throw new ModelError(
    `${repo.name}: has the weight files ${
      others.join(", ")
    }, which loaders could prefer to the files of the ` +
      "folder; delete them on the hub, or push to another repository",
  );
}

/** Returns a `fetch` that limits the time of each request. @param onSent called with the bytes of each sent file */
function withTimeLimit(send: typeof fetch, onSent: (bytes: number) => void): typeof fetch {
  return async (input, init) => {
    const body = init?.body, bytes = body instanceof Blob ? body.size : 0;
    const text = typeof body === "string" ? body.length : 0;
    const limit = AbortSignal.timeout(REQUEST_MS + Math.ceil((bytes + text) / SLOWEST_BYTES_PER_MS));
    const signal = init?.signal ? AbortSignal.any([init.signal, limit]) : limit;
    const response = await send(input, { ...init, signal });
    if (response.ok && bytes > 0) onSent(bytes);
    return response;
  };
}
