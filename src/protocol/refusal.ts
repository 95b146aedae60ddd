/** The error for a request that is refused with a problem of the contract. Lower layers throw errors of their own, which are mapped to refusals. */

import type { ProblemCode, ProblemMembers } from "./problem.ts";

/** Optional parts of a refusal. */
export interface RefusalOptions extends ErrorOptions {
  /** Members of the problem besides the standard ones. */
  readonly members?: ProblemMembers;
  /** Seconds that the client should wait, sent as Retry-After. */
  readonly retryAfter?: number;
}

/** Is answered as the problem `code`. The message becomes the problem's detail. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly members: ProblemMembers;
  readonly retryAfter: number | undefined;

  constructor(readonly code: ProblemCode, detail: string, options: RefusalOptions = {}) {
    super(detail, options);
    this.members = options.members ?? {};
    this.retryAfter = options.retryAfter;
  }
}
