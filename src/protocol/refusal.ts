/** A request that the HTTP layer of the host or the edge itself refuses. What the pipeline refuses has errors of its own. */

import type { ProblemCode, ProblemMembers } from "./problem.ts";

/** Extras of a refusal. */
export interface RefusalOptions extends ErrorOptions {
  /** Members of the problem past the standard ones. */
  readonly members?: ProblemMembers;
  /** Seconds to wait, sent as Retry-After. */
  readonly retryAfter?: number;
}

/** Becomes the problem of `code`; the message is its detail. */
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
