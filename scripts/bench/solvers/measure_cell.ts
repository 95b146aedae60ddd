/** Measures one cell of the bench `solvers`: the errors of all layers, the perplexity of the pruned model, and the time. */

import { PareError } from "../../../src/client/errors.ts";
import type { PruneEvent } from "../../../src/client/model_pruner.ts";
import type { Backend } from "../../../src/device/backend.ts";
import { computePerplexity } from "../../../src/model/evaluation/perplexity.ts";
import type { Model } from "../../../src/model/model.ts";
import type { Report } from "../../../src/protocol/messages.ts";
import { calibratedModel } from "../../../src/prune/calibrated_model.ts";
import type { CalibratedPruner, DevicePruner } from "../../../src/prune/device_pruner.ts";
import { withStatisticsInHostMemory } from "../../../src/prune/host_statistics.ts";
import { pruneInMemory } from "../../../src/prune/run/in_memory.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import type { Cell, CellResult } from "./cells.ts";

/** A linear layer of the dense model, which is the model before pruning. */
interface DenseLayer {
  /** The name of the layer's weight in the checkpoint. */
  readonly name: string;
  readonly weight: HostTensor;
  /** Σ x·xᵀ over the layer's calibration inputs x, as a packed upper triangle. */
  readonly hessian: HostTensor;
}

/** Runs the calibration of `pare prune` without changing a weight, and returns all layers. */
export async function collectDenseLayers(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
): Promise<DenseLayer[]> {
  const layers: DenseLayer[] = [];
  for await (
    const group of withStatisticsInHostMemory(calibratedModel(model, backend, { windows })).groups()
  ) {
    for (const { name, weight } of group.layers) {
      layers.push({ name, weight, hessian: group.hessian! });
      await group.replace(name, weight);
    }
  }
  return layers;
}

/** A model that is being measured, with its texts as token ids. */
interface MeasuredModel {
  readonly model: Model;
  readonly layers: readonly DenseLayer[];
  readonly windows: readonly Uint32Array[];
  readonly evaluation: Uint32Array;
  readonly evaluationOptions: { readonly seqlen: number; readonly windows: number };
}

/** Measures one cell. A refusal of a layer becomes part of the result. */
export async function measureCell(
  pruner: DevicePruner,
  { model, layers, windows, evaluation, evaluationOptions }: MeasuredModel,
  { method, target, query }: Cell,
): Promise<CellResult> {
  const errors: (number | null)[] = [];
  let refused: string | undefined;
  for (const layer of layers) {
    const outcome = await solveLayer(pruner, layer, query);
    if (typeof outcome === "string") refused = outcome;
    errors.push(typeof outcome === "string" ? null : outcome.relative_error);
  }
  if (refused) return { method, target, errors, refused, perplexity: null, solveSeconds: null };
  const timed = new TimedPruner(pruner);
  const pruned = await pruneInMemory(model, { ...query, error: false }, {
    pruner: timed,
    backend: pruner.backend,
    windows,
  });
  const { perplexity } = await computePerplexity(pruned, pruner.backend, evaluation, evaluationOptions);
  return { method, target, errors, perplexity, solveSeconds: timed.seconds };
}

/** Solves one layer and returns its report. If the layer is refused, returns the reason. */
async function solveLayer(
  pruner: DevicePruner,
  { weight, hessian }: DenseLayer,
  query: Cell["query"],
): Promise<Report | string> {
  try {
    return (await pruner.pruneLayer({ weight, hessian_upper: hessian }, query)).report;
  } catch (error) {
    if (!(error instanceof PareError) || error.status >= 500) throw error;
    return error.detail;
  }
}

/** Prunes a model with `pruner`, and adds up the seconds that the solvers take. */
class TimedPruner implements CalibratedPruner {
  seconds = 0;
  constructor(readonly pruner: CalibratedPruner) {}

  async *pruneModel(
    ...args: Parameters<CalibratedPruner["pruneModel"]>
  ): AsyncGenerator<PruneEvent, void, void> {
    for await (const event of this.pruner.pruneModel(...args)) {
      if (event.type === "layer") {
        const { factor, solve, refit } = event.report.seconds;
        this.seconds += factor + solve + refit;
      }
      yield event;
    }
  }
}
