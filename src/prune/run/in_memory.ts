/** Prunes all linear layers of a model in memory. Nothing is written. */

import { withReplacements } from "../../model/checkpoint/tensor_source.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { needsNoStatistics } from "../../protocol/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { copyTensor, type HostTensor } from "../../tensor/host_tensor.ts";
import type { AllocationName } from "../allocation/allocation.ts";
import { linearLayers } from "../block_plan.ts";
import type { Destination, PruneServices } from "./job.ts";
import { pruneModel } from "./prune_model.ts";

/** Returns a destination whose result shares all other weights with `model`. */
export function memoryDestination({ spec, weights }: Model): Destination<Model> {
  return {
    async fill(prune) {
      const replaced = new Map<string, HostTensor>();
      await prune({
        replace: (name, weight) => Promise.resolve(void replaced.set(name, copyTensor(weight))),
        recordReconstruction(_block, { tensors }) {
          for (const [name, tensor] of tensors) replaced.set(name, copyTensor(tensor));
          return Promise.resolve();
        },
      });
      return { spec, weights: withReplacements(weights, replaced) };
    },
  };
}

/** The services of the run, its calibration windows and its allocation. */
export interface InMemoryPruneOptions extends PruneServices {
  /** Token ids of the calibration windows. Runs that need no statistics do not use them. */
  readonly windows: readonly Uint32Array[];
  /** Token ids of the held-out windows. @default [] */
  readonly validationWindows?: readonly Uint32Array[];
  /** How the sparsity of each layer is chosen. With `owl` and `error`, the windows are needed for every method. @default "uniform" */
  readonly allocation?: AllocationName;
  /** The number of epochs in which each block is reconstructed. @default 0 */
  readonly reconstruct?: number;
}

/** Prunes all linear layers in the blocks of `model` with the parameters in `query`. @throws the errors of `pruneModel` */
export async function pruneInMemory(
  model: Model,
  query: LayerQuery,
  { windows, validationWindows, allocation: name = "uniform", reconstruct = 0, ...services }:
    InMemoryPruneOptions,
): Promise<Model> {
  const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
  const allocation = name === "uniform" ? undefined : { name, layers: linearLayers(model.spec), sparsity };
  const isCalibrated = reconstruct > 0 || !needsNoStatistics(query), destination = memoryDestination(model);
  const job = {
    model,
    windows,
    validationWindows,
    isCalibrated,
    queryOf: () => query,
    allocation,
    reconstruct,
  };
  return await pruneModel({ ...job, destination }, services);
}
