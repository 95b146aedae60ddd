/**
 * Measures one cell of the solvers bench, which is one pruning method at one target, on one model. The
 * figures are the errors of all layers and the perplexity of the pruned model.
 */

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
  /**
   * The relative errors tr(ΔHΔᵀ)/tr(WHWᵀ) of the layers, in the order of `ModelResult.layers`. W is the dense
   * weight, Δ is its change, and H = Σ x·xᵀ over the layer's inputs x in the dense model. An error is null if
   * the method refuses the layer.
   */
  readonly errors: readonly (number | null)[];
  /**
   * The reason why the method refused a layer. The whole model is not pruned then. Absent if all layers were
   * solved.
   */
  readonly refused?: string;
  /**
   * The perplexity after the model was pruned block by block. Null if the method refuses at least one layer.
   */
  readonly perplexity: number | null;
  /**
   * The seconds of the factorisations, solves and refits of all layers, in the run that pruned the whole
   * model.
   */
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

/** Measures one cell. A refusal of a layer becomes part of the result. */
export async function measureCell(
  { backend, pare }: LocalHost,
  { model, layers, windows, evaluation, evaluationOptions }: MeasuredModel,
  { method, target, query }: Cell,
): Promise<CellResult> {
  const errors: (number | null)[] = [];
  let refused: string | undefined;
  for (const layer of layers) {
    const outcome = await solveLayer(pare, layer, query);
    if (typeof outcome === "string") refused = outcome;
    errors.push(typeof outcome === "string" ? null : outcome.relative_error);
  }
  if (refused) return { method, target, errors, refused, perplexity: null, solveSeconds: null };
  const timed = new TimedPruner(pare);
  const pruned = await pruneInMemory(model, { ...query, error: false }, { pruner: timed, backend, windows });
  const { perplexity } = await computePerplexity(pruned, backend, evaluation, evaluationOptions);
  return { method, target, errors, perplexity, solveSeconds: timed.seconds };
}

/** Solves one layer and returns its report. If the layer is refused, returns the reason. */
async function solveLayer(
  pare: Pare,
  { weight, hessian }: DenseLayer,
  query: Cell["query"],
): Promise<Report | string> {
  try {
    return (await pare.pruneLayer({ weight, hessian_upper: hessian }, query)).report;
  } catch (error) {
    if (!(error instanceof PareError) || error.status >= 500) throw error;
    return error.detail;
  }
}

/** Prunes a model with the client `pare`, and adds up the seconds that the solvers take. */
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
