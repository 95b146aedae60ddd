/** Measures one cell of the solvers bench on one model: the errors of all layers, and the perplexity of the pruned model. */

import type { Pare } from "../../../../src/client/pare.ts";
import { PareError } from "../../../../src/client/errors.ts";
import type { PruneEvent } from "../../../../src/client/events.ts";
import type { ModelPruner } from "../../../../src/client/model_pruner.ts";
import type { LocalHost } from "../../../../src/cli/local_host.ts";
import { computePerplexity } from "../../../../src/evaluation/perplexity.ts";
import type { Model } from "../../../../src/models/model.ts";
import { pruneInMemory } from "../../../../src/prune/prune_in_memory.ts";
import type { Report } from "../../../../src/protocol/report.ts";
import type { Cell } from "./cells.ts";
import type { DenseLayer } from "./dense_layers.ts";

/** The figures of one cell on one model. */
export interface CellResult {
  readonly method: string;
  readonly target: string;
  /** tr(ΔHΔᵀ)/tr(WHWᵀ) of each layer with dense statistics, in the order of `ModelResult.layers`. Null if the method refuses the layer. */
  readonly errors: readonly (number | null)[];
  /** Why the method refuses some layers, if it does. The whole model is not pruned then. */
  readonly refused?: string;
  /** The perplexity of the model that was pruned block by block. Null if the method refuses some layers. */
  readonly perplexity: number | null;
  /** Seconds of factorisations, solves and refits, over all layers of the run that measured the perplexity. */
  readonly solveSeconds: number | null;
}

/** A model that is being measured, with its texts as token ids. */
export interface MeasuredModel {
  readonly model: Model;
  readonly layers: readonly DenseLayer[];
  readonly windows: readonly Uint32Array[];
  readonly evaluation: Uint32Array;
  readonly evaluationOptions: { readonly seqlen: number; readonly windows: number };
}

/** The refusal of a method or of a parameter that this version does not have. It is a valid value of the contract. */
const NOT_BUILT = "unsupported";

/** Measures one cell. Returns undefined if this version has not built the method or one of its parameters. */
export async function measureCell(
  { backend, pare }: LocalHost,
  { model, layers, windows, evaluation, evaluationOptions }: MeasuredModel,
  { method, target, query }: Cell,
): Promise<CellResult | undefined> {
  const errors: (number | null)[] = [];
  let refused: string | undefined;
  for (const layer of layers) {
    const outcome = await solveLayer(pare, layer, query);
    if (outcome === NOT_BUILT) return undefined;
    if (typeof outcome === "string") refused = outcome;
    errors.push(typeof outcome === "string" ? null : outcome.relative_error);
  }
  if (refused) return { method, target, errors, refused, perplexity: null, solveSeconds: null };
  const timed = new TimedPruner(pare);
  const pruned = await pruneInMemory(model, { ...query, error: false }, { pruner: timed, backend, windows });
  const { perplexity } = await computePerplexity(pruned, backend, evaluation, evaluationOptions);
  return { method, target, errors, perplexity, solveSeconds: timed.seconds };
}

/** Returns the report of the solved layer, `NOT_BUILT`, or the text of another refusal. */
async function solveLayer(
  pare: Pare,
  { weight, hessian }: DenseLayer,
  query: Cell["query"],
): Promise<Report | string> {
  try {
    return (await pare.pruneLayer({ weight, hessian_upper: hessian }, query)).report;
  } catch (error) {
    if (!(error instanceof PareError) || error.status >= 500) throw error;
    return error.code === NOT_BUILT ? NOT_BUILT : error.detail;
  }
}

/** Passes a model on to `pare`, and adds up the seconds that the solvers take. */
class TimedPruner implements ModelPruner {
  seconds = 0;
  readonly #pare: Pare;

  constructor(pare: Pare) {
    this.#pare = pare;
  }

  async *pruneModel(...args: Parameters<ModelPruner["pruneModel"]>): AsyncGenerator<PruneEvent, void, void> {
    for await (const event of this.#pare.pruneModel(...args)) {
      if (event.type === "layer") {
        const { factor, solve, refit } = event.report.seconds;
        this.seconds += factor + solve + refit;
      }
      yield event;
    }
  }
}
