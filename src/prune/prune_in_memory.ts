/** Prunes a whole model without writing a checkpoint: the pruned weights stay in memory. */

import type { Backend } from "../backend/backend.ts";
import { withReplacements } from "../checkpoint/tensor_source.ts";
import type { ModelPruner } from "../client/model_pruner.ts";
import type { Model } from "../models/model.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { calibratedModel } from "./calibrated_model.ts";
import { uncalibratedModel } from "./uncalibrated_model.ts";

/** The client, the backend and the calibration windows of the run. */
export interface InMemoryPruneOptions {
  /** Solves the layers. */
  readonly pruner: ModelPruner;
  /** Runs the forward passes of the calibration. */
  readonly backend: Backend;
  /** Token ids of the calibration windows. Methods that need no statistics do not use them. */
  readonly windows: readonly Uint32Array[];
  readonly signal?: AbortSignal;
  /** Called after each layer. */
  readonly progress?: (done: number, total: number) => void;
}

/**
 * Prunes all linear layers in the blocks of `model` with the parameters in `query`.
 * @returns a model that shares all other weights with `model`. The pruned weights have the dtypes of the original weights
 * @throws the errors of `ModelPruner.pruneModel` and of the calibration
 */
export async function pruneInMemory(
  model: Model,
  query: LayerQuery,
  { pruner, backend, windows, signal, progress }: InMemoryPruneOptions,
): Promise<Model> {
  const replaced = new Map<string, HostTensor>();
  const onReplace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
  const source = query.method === "magnitude"
    ? uncalibratedModel(model, onReplace)
    : calibratedModel(model, backend, { windows, onReplace, signal });
  for await (const event of pruner.pruneModel(source, query, { signal })) {
    if (event.type === "layer") progress?.(event.done, source.layerCount);
  }
  return { spec: model.spec, weights: withReplacements(model.weights, replaced) };
}
