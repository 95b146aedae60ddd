/**
 * The parameters of the solves of a run. Layers that are rounded after the reconstruction of their block are solved twice: first without
 * rounding, and then with the trained weights and with their zeros as the mask.
 */

import type { LayerEvent, QueryOf } from "../../protocol/run/solve_round.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_METHOD, improvesRounding } from "../../protocol/methods.ts";
import { ROUNDING_PARAMETERS } from "../../protocol/parameters.ts";
import { BlockPlan } from "../block_plan.ts";
import type { TokenWeightsOf } from "../round_statistics.ts";
import { DEFAULT_TOKEN_WEIGHTS, type PruneJob } from "./job.ts";

/**
 * Moves the weights of the tokens from the queries to the calibration. With targets and held-out windows, these windows choose the steps
 * towards the targets, unless a query has a step.
 */
export function weighedJob(job: PruneJob): PruneJob & { readonly tokenWeightsOf: TokenWeightsOf } {
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

/** Returns whether a layer is rounded, by its name. */
export function isRoundedBy(queryOf: QueryOf): (name: string) => boolean {
  return (name) => queryOf(name).bits !== undefined;
}

/** Returns the names of the layers that are rounded after their block is trained. */
export function layersRoundedLast(job: PruneJob): ReadonlySet<string> {
  return new BlockPlan(job.model.spec, { ...job, isRounded: isRoundedBy(job.queryOf) }).layersRoundedLast();
}

/** Returns the parameters of the first solve. */
export function withoutRounding(query: LayerQuery): LayerQuery {
  const names: readonly string[] = ROUNDING_PARAMETERS;
  return Object.fromEntries(Object.entries(query).filter(([name]) => !names.includes(name)));
}

/** The parameters of the solves of a run. */
export interface RoundingQueries {
  /** Returns the parameters of the last solve of a layer. */
  readonly queryOf: QueryOf;
  /** Returns the parameters of the first solve, without rounding, of a layer that is rounded after a reconstruction. */
  readonly unroundedQueryOf: QueryOf;
  /** Adds to the report of a layer that was solved twice the pattern of its zeros, and how they were chosen. */
  withNote(event: LayerEvent): LayerEvent;
}

/**
 * Returns the parameters of the solves of each layer. If the mask has all zeros already, every method rounds the
 * kept weights in the same way, so the fastest one takes the place of those that do not improve what they have rounded.
 */
export function roundingQueries(job: PruneJob): RoundingQueries {
  const { queryOf } = job, last = layersRoundedLast(job);
  return {
    unroundedQueryOf: (name) => withoutRounding(queryOf(name)),
    queryOf(name) {
      if (!last.has(name)) return queryOf(name);
      const { refit: _refit, pattern: _pattern, target_step: _step, ...query } = queryOf(name);
      const { method = DEFAULT_METHOD, effort, ...others } = query;
      // SparseGPT spreads a sparsity evenly over blocks of columns, so it would add zeros to a mask of another method. With
      // the sparsity 0, neither it nor ALPS searches for a mask.
      return improvesRounding(method, effort)
        ? { ...query, refit: 0, sparsity: 0 }
        : { ...others, method: "sparsegpt", sparsity: 0 };
    },
    withNote(event) {
      if (!last.has(event.name)) return event;
      const { method = DEFAULT_METHOD, pattern = event.report.pattern } = queryOf(event.name);
      const note = `The layer was first solved by ${method} without rounding, ` +
        "before the reconstruction of its block and the solve that this report describes.";
      // The zeros are those of the first solve, so they have its pattern.
      return { ...event, report: { ...event.report, pattern, notes: [note, ...event.report.notes] } };
    },
  };
}
