/**
 * Gives layers with fewer tokens than columns the largest damping, because their Hessian is singular and noisy. Of
 * 0.01, 0.1 and 1, this damping was the best when 32, 64 and 128 tokens calibrated llama-sotu and opt-sotu (192 to 768
 * columns; perplexity at 50 %). An expert that no held-out token reached cannot choose its damping or its step
 * towards a target, and gets the default in place of `auto`.
 */

import { DEFAULT_DAMPING, DEFAULT_TARGET_STEP, MAX_DAMPING } from "../protocol/limits.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { needsNoStatistics } from "../protocol/methods.ts";
import type { Report } from "../protocol/messages.ts";
import type { LayerQueryOf, SolveRound } from "../protocol/run/solve_round.ts";

/** A layer that only some tokens reach. */
interface SparseLayer {
  readonly tokens: number;
  readonly columns: number;
  readonly isValidated: boolean;
  /** The parameters of the layer without a higher damping, once they are known. */
  query?: LayerQuery;
}

/** Wraps `solveRound` so that layers with few tokens get more damping, and a note in their reports. */
export function withFewTokens<Hessian>(solveRound: SolveRound<Hessian>): SolveRound<Hessian> {
  return async function* (groups, queryOf, options) {
    const sparse = new Map<string, SparseLayer>();
    const recorded = async function* () {
      for await (const group of groups) {
        const { tokens, validationHessian, layers } = group, isValidated = validationHessian !== undefined;
        for (const { name, weight: { shape: [, columns] } } of tokens === undefined ? [] : layers) {
          sparse.set(name, { tokens: tokens!, columns, isValidated });
        }
        yield group;
      }
    };
    const dampedQuery: LayerQueryOf = (layer) => {
      const requested = queryOf(layer), few = sparse.get(layer.name);
      if (!few) return requested;
      const query = few.query = few.isValidated ? requested : withoutChoices(requested);
      // A layer that no token reached has the identity as its Hessian, which needs no damping.
      const isDamped = few.tokens > 0 && few.tokens < few.columns && !needsNoStatistics(query);
      return isDamped ? { ...query, damping: MAX_DAMPING } : query;
    };
    for await (const solved of solveRound(recorded(), dampedQuery, options)) {
      const { layer: { name }, report } = solved, few = sparse.get(name);
      yield {
        ...solved,
        report: few ? { ...report, notes: [...report.notes, ...notesOf(few, report)] } : report,
      };
    }
  };
}

/** Replaces `auto` by the defaults. */
function withoutChoices(query: LayerQuery): LayerQuery {
  return {
    ...query,
    ...query.damping === "auto" && { damping: DEFAULT_DAMPING },
    ...query.target_step === "auto" && { target_step: DEFAULT_TARGET_STEP },
  };
}

/** Describes the shortage, if there is one, and the damping if the method used it. */
function notesOf({ tokens, columns, query }: SparseLayer, { damping }: Report): string[] {
  if (tokens >= columns || !query || needsNoStatistics(query)) return [];
  if (tokens === 0) {
    return [
      "No calibration token reached this layer, so only the magnitudes of its weights decided which are pruned. " +
      "Its loss is measured with the identity as its Hessian.",
    ];
  }
  const seen = `Only ${tokens} calibration tokens reached this layer, which has ${columns} columns`;
  const requested = query.damping ?? DEFAULT_DAMPING;
  if (damping === null || requested === MAX_DAMPING) return [`${seen}.`];
  const change = requested === "auto" ? "is" : `was raised from ${requested} to`;
  return [`${seen}, so its damping ${change} ${MAX_DAMPING}.`];
}
