/** Lists a folder of a repository on the hub. */

import { type ListFileEntry, listFiles } from "@huggingface/hub";
import { dirname } from "node:path/posix";
import * as z from "zod/mini";
import type { Repository } from "./cache.ts";
import type { HubAccess } from "./hub_access.ts";
import { type AnswerForm, checkedFetch } from "./limited_fetch.ts";

/** The form of a listing. A page of the public hub has up to 1000 files, and the largest models have a few hundred. */
const FILE_LIST: AnswerForm = {
  schema: z.array(z.object({ type: z.string(), path: z.string(), size: z.int().check(z.minimum(0)) })),
  maxPages: 20,
  name: "a list of files",
};

/**
 * Lists the files in a folder of one commit, by their paths in the repository. Files in other folders are left out.
 * @param folder the path of the folder, by default the top folder
 * @throws {ModelError} if the listing is malformed or has too many pages
 */
export async function listFolder(
  access: HubAccess,
  repo: Repository,
  commit: string,
  folder?: string,
): Promise<Map<string, ListFileEntry>> {
  const entries = new Map<string, ListFileEntry>();
  const client = { ...access.client, fetch: checkedFetch(access.client.fetch, FILE_LIST) };
  for await (const entry of listFiles({ ...client, repo, revision: commit, path: folder })) {
    const isHere = dirname(entry.path) === (folder ?? ".") && !entry.path.includes("\\");
    if (entry.type === "file" && isHere) entries.set(entry.path, entry);
  }
  return entries;
}
