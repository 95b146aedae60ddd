/** Rewrites the journal of a run with other entries, which then have the digests of an intact journal. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { Journal, type JournalEntry } from "../../src/prune/run/journal.ts";

/** Replaces the entries of the journal at `path` by those that `edit` returns. */
export async function editJournal(
  path: string,
  edit: (entries: readonly JournalEntry[]) => readonly JournalEntry[],
): Promise<void> {
  const old = await Journal.open(path, denoFileSystem);
  await old.close();
  await Deno.remove(path);
  const journal = await Journal.open(path, denoFileSystem);
  try {
    for (const entry of edit(old.entries)) await journal.append(entry);
  } finally {
    await journal.close();
  }
}
