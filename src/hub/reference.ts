/** `hf:OWNER/NAME[@REVISION]`: how a model of the Hugging Face hub is named where a folder may be. */

import { ModelError } from "../files/model_error.ts";

/** A model of the hub, at one revision. */
export interface HubReference {
  /** `OWNER/NAME`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

const PREFIX = "hf:";
const DEFAULT_REVISION = "main";

/** What the hub allows in a name. */
const PART = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;

/** Whether `text` names a model of the hub. */
export function isHubReference(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** @throws {ModelError} it is not of the form `hf:OWNER/NAME[@REVISION]` */
export function parseReference(text: string): HubReference {
  const [repo, ...revisions] = text.slice(PREFIX.length).split("@");
  const [revision = DEFAULT_REVISION] = revisions;
  const parts = repo.split("/");
  const isRepo = parts.length === 2 && parts.every((part) => PART.test(part) && !/--|\.\./.test(part));
  // A revision becomes a path in the cache: "refs/pr/1" is one, "../x" must not be.
  const isRevision = revision.split("/").every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/.test(part));
  if (!isHubReference(text) || !isRepo || !isRevision || revisions.length > 1) {
    throw new ModelError(`${text}: a model of the hub is named hf:OWNER/NAME or hf:OWNER/NAME@REVISION`);
  }
  return { repo, revision };
}
