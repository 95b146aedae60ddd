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
import type { LayerInputs, LayerQueryOf, SolveRound } from "../protocol/run/solve_round.ts";

/** The number of tokens of a layer's Hessian, and its number of columns, which is larger. */
interface Shortage {
  readonly tokens: number;
  readonly columns: number;
  /** The parameters of the layer without a higher damping, once they are known. */
  query?: LayerQuery;
}

/** Wraps `solveRound` so that layers with few tokens get more damping, and a note in their reports. */
export function withFewTokens<Hessian>(solveRound: SolveRound<Hessian>): SolveRound<Hessian> {
  return async function* (groups, queryOf, options) {
    const fewTokens = new FewTokens();
    const recorded = async function* () {
      for await (const group of groups) {
        fewTokens.record(group);
        yield group;
      }
    };
    for await (const solved of solveRound(recorded(), fewTokens.withDamping(queryOf), options)) {
      yield { ...solved, report: fewTokens.withNote(solved.layer.name, solved.report) };
    }
  };
}

/** The layers of a round with few tokens, of all groups that were recorded. */
class FewTokens {
  readonly #shortages = new Map<string, Shortage>();
  readonly #unvalidated = new Set<string>();

  /** Records the layers of a group. Must be called before a method is called for one of these layers. */
  record({ tokens, validationHessian, layers }: LayerInputs<unknown>): void {
    if (tokens === undefined) return;
    for (const { name, weight: { shape: [, columns] } } of layers) {
      if (tokens < columns) this.#shortages.set(name, { tokens, columns });
      if (!validationHessian) this.#unvalidated.add(name);
    }
  }

  /** Wraps `queryOf` so that layers with few tokens have a higher damping. */
  withDamping(queryOf: LayerQueryOf): LayerQueryOf {
    return (layer) => {
      const { name } = layer, requested = queryOf(layer), shortage = this.#shortages.get(name);
      const query = this.#unvalidated.has(name) ? withoutChoices(requested) : requested;
      if (!shortage) return query;
      shortage.query = query;
      if (needsNoStatistics(query)) return query;
      // A layer that no token reached has the identity as its Hessian, which needs no damping.
      return shortage.tokens === 0 ? query : { ...query, damping: MAX_DAMPING };
    };
  }

  /** Adds a note to the report of a layer with few tokens. */
  withNote(name: string, report: Report): Report {
    const shortage = this.#shortages.get(name);
    if (!shortage?.query || needsNoStatistics(shortage.query)) return report;
    return { ...report, notes: [...report.notes, noteOf(shortage.query, shortage, report)] };
  }
}

/** Replaces `auto` by the defaults. */
function withoutChoices(query: LayerQuery): LayerQuery {
  return {
    ...query,
    ...query.damping === "auto" && { damping: DEFAULT_DAMPING },
    ...query.target_step === "auto" && { target_step: DEFAULT_TARGET_STEP },
  };
}

/** Describes the shortage, and the damping if the method used it. */
function noteOf(query: LayerQuery, shortage: Shortage, { damping }: Report): string {
  const { tokens, columns } = shortage;
  if (tokens === 0) {
    return "No calibration token reached this layer, so only the magnitudes of its weights decided which are pruned. " +
      "Its loss is measured with the identity as its Hessian.";
  }
  const seen = `Only ${tokens} calibration tokens reached this layer, which has ${columns} columns`;
  const requested = query.damping ?? DEFAULT_DAMPING;
  if (damping === null || requested === MAX_DAMPING) return `${seen}.`;
  const change = requested === "auto" ? "is" : `was raised from ${requested} to`;
  return `${seen}, so its damping ${change} ${MAX_DAMPING}.`;
}
