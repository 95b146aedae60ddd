/** Parses references to models on the Hugging Face hub, which the command line accepts in place of a folder. */

import { ModelError } from "../../base/files/file_error.ts";

export interface HubReference {
  readonly repo: string;
  /** The name of a branch or a tag, or a commit hash. */
  readonly revision: string;
}

/** The beginning of every reference. */
export const HUB_PREFIX = "hf:";
const DEFAULT_REVISION = "main";

/** The form of an owner's or a model's name on the hub. */
const PART = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;

/** Whether `text` is the name of a repository, OWNER/NAME. */
export function isRepositoryName(text: string): boolean {
  const parts = text.split("/");
  return parts.length === 2 && parts.every((part) => PART.test(part) && !/--|\.\./.test(part));
}

/** Returns the name of the repository in a reference, or undefined if `text` does not refer to the hub. */
export function repositoryOf(text: string): string | undefined {
  const [repo] = text.slice(HUB_PREFIX.length).split("@");
  return isHubReference(text) && isRepositoryName(repo) ? repo : undefined;
}

/** Whether `text` refers to a model on the hub, as opposed to a folder. Only the prefix `hf:` is checked. */
export function isHubReference(text: string): boolean {
  return text.startsWith(HUB_PREFIX);
}

/** Parses `hf:OWNER/NAME[@REVISION]`, by default with the revision `main`. @throws {ModelError} for another form */
export function parseReference(text: string): HubReference {
  const [repo, ...revisions] = text.slice(HUB_PREFIX.length).split("@");
  const [revision = DEFAULT_REVISION] = revisions;
  // A revision becomes a path in the cache. "refs/pr/1" is a valid revision, but "../x" must be refused.
  const isRevision = revision.split("/").every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/.test(part));
  if (!isHubReference(text) || !isRepositoryName(repo) || !isRevision || revisions.length > 1) {
    throw new ModelError(
      `${text}: a reference to the hub must have the form hf:OWNER/NAME or hf:OWNER/NAME@REVISION`,
    );
  }
  return { repo, revision };
}
