/**
 * The error for a request that is refused with a problem of the HTTP contract. Folders that do not import the contract throw errors of their
 * own, which `layer/layer_refusal.ts` and `routes/errors.ts` convert to refusals.
 */

import { firstItems, shortened } from "../text/quotes.ts";
import type { ProblemCode, ProblemMembers } from "./problem.ts";

/** Optional parts of a refusal. */
export interface RefusalOptions extends ErrorOptions {
  /** Members of the problem besides the standard ones. */
  readonly members?: ProblemMembers;
  /** The number of seconds that the client should wait before it tries again, sent as Retry-After. */
  readonly retryAfter?: number;
}

/** A refused request. The server answers with the problem `code`, and the message becomes the problem's `detail`. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly members: ProblemMembers;
  readonly retryAfter: number | undefined;

  constructor(readonly code: ProblemCode, detail: string, options: RefusalOptions = {}) {
    super(detail, options);
    const members = Object.entries(options.members ?? {}).map((
      [name, value],
    ) => [name, shortenedMember(value)]);
    this.members = Object.fromEntries(members);
    this.retryAfter = options.retryAfter;
  }
}

/** Shortens a member that may come from the request: a text, or a list of texts or numbers. */
function shortenedMember(value: unknown): unknown {
  if (typeof value === "string") return shortened(value);
  return Array.isArray(value) ? firstItems(value).map(shortenedMember) : value;
}

/** Returns the refusal `too_large`. @param subject names what is too large, such as "the body" */
export function tooLarge(subject: string, byteLength: number, limit: number): Refusal {
  return new Refusal("too_large", `${subject} has ${byteLength} bytes, the limit is ${limit}`, {
    members: { limit },
  });
}
