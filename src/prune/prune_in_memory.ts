/** Prunes a whole model without writing a checkpoint: the pruned weights stay in memory. */

import type { Backend } from "../backend/backend.ts";
import { withReplacements } from "../checkpoint/tensor_source.ts";
import type { QueryOf } from "../client/model_pruner.ts";
import type { Model } from "../models/model.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { needsNoStatistics } from "../protocol/methods.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { layerQuerySchema, resolveParameters } from "../protocol/parameters.ts";
import { allocate, withAllocation } from "./allocation/allocate.ts";
import type { AllocationName } from "./allocation/allocation.ts";
import { linearLayers } from "./block_plan.ts";
import { calibratedModel } from "./calibrated_model.ts";
import type { CalibratedPruner } from "./device_pruner.ts";
import { uncalibratedModel } from "./uncalibrated_model.ts";

/** The client, the backend and the calibration windows of the run. */
export interface InMemoryPruneOptions {
  /** Solves the layers. */
  readonly pruner: CalibratedPruner;
  /** Runs the forward passes of the calibration. */
  readonly backend: Backend;
  /** Token ids of the calibration windows. Runs that need no statistics do not use them. */
  readonly windows: readonly Uint32Array[];
  /**
   * How the sparsity of each layer is chosen. With `owl` and `error`, the windows are needed for every method.
   * @default "uniform"
   */
  readonly allocation?: AllocationName;
  readonly signal?: AbortSignal;
  /** Called after each layer. */
  readonly progress?: (done: number, total: number) => void;
}

/**
 * Prunes all linear layers in the blocks of `model` with the parameters in `query`.
 * @returns a model that shares all other weights with `model`. The pruned weights have the dtypes of the original weights
 * @throws the errors of `ModelPruner.pruneModel`, of the calibration and of `allocate`
 */
export async function pruneInMemory(
  model: Model,
  query: LayerQuery,
  options: InMemoryPruneOptions,
): Promise<Model> {
  const { pruner, backend, windows, signal, progress } = options;
  const queryOf = await allocatedQuery(model, query, options);
  const replaced = new Map<string, HostTensor>();
  const onReplace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
  const source = needsNoStatistics(query)
    ? uncalibratedModel(model, onReplace)
    : calibratedModel(model, backend, { windows, onReplace, signal });
  for await (const event of pruner.pruneModel(source, queryOf, { signal })) {
    if (event.type === "layer") progress?.(event.done, source.layerCount);
  }
  return { spec: model.spec, weights: withReplacements(model.weights, replaced) };
}

/** Returns the parameters of each layer, with the sparsity that the allocation chooses. */
async function allocatedQuery(
  model: Model,
  query: LayerQuery,
  { allocation = "uniform", pruner, backend, windows, signal }: InMemoryPruneOptions,
): Promise<QueryOf> {
  const queryOf = () => query;
  if (allocation === "uniform") return queryOf;
  const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
  const layers = linearLayers(model.spec);
  const task = { model, layers, sparsity, queryOf, windows, backend, pruner, signal };
  return withAllocation(queryOf, await allocate(allocation, task));
}
