/** Turns the parameters that a user gives for the layers into the parameters of the solver. */

import type { TokenWeightsOf } from "../round_statistics.ts";
import { DEFAULT_TOKEN_WEIGHTS, type PruneJob } from "./job.ts";

/** A job whose calibration weighs the tokens. The queries of its layers therefore have no `token_weights`. */
export interface Weighed {
  readonly tokenWeightsOf: TokenWeightsOf;
}

/**
 * Moves the weights of the tokens from the queries to the calibration. With targets and held-out windows, these windows choose the steps
 * towards the targets, unless a query has a step.
 */
export function weighedJob(job: PruneJob): PruneJob & Weighed {
  const choosesSteps = job.target === "dense" && (job.validationWindows?.length ?? 0) > 0;
  return {
    ...job,
    tokenWeightsOf: (name) => job.queryOf(name).token_weights ?? DEFAULT_TOKEN_WEIGHTS,
    queryOf(name: string) {
      const { token_weights: _weights, ...query } = job.queryOf(name);
      return choosesSteps ? { target_step: "auto" as const, ...query } : query;
    },
  };
}
