/** Prunes all linear layers of a model in memory. Nothing is written. */

import { withReplacements } from "../../model/checkpoint/tensor_source.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { BlockOptions } from "../../protocol/run/options.ts";
import { needsNoStatistics } from "../../protocol/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { copyTensor, type HostTensor } from "../../tensor/host_tensor.ts";
import type { AllocationName } from "../allocation/allocation.ts";
import { BlockPlan, linearLayers } from "../block_plan.ts";
import type { Destination, PruneJob, PruneServices } from "./job.ts";
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

/** The services of the run, its calibration windows, which runs without statistics do not use, and its allocation. */
export interface InMemoryPruneOptions
  extends PruneServices, Partial<BlockOptions>, Pick<PruneJob, "windows" | "validationWindows"> {
  /** How the sparsity of each layer is chosen. With `owl` and `error`, the windows are needed for every method. @default "uniform" */
  readonly allocation?: AllocationName;
}

/** Prunes all linear layers in the blocks of `model` with the parameters in `query`. @throws the errors of `pruneModel` */
export async function pruneInMemory(
  model: Model,
  query: LayerQuery,
  options: InMemoryPruneOptions,
): Promise<Model> {
  const { allocation: name = "uniform" } = options;
  const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
  const allocation = name === "uniform" ? undefined : { name, layers: linearLayers(model.spec), sparsity };
  const isCalibrated = new BlockPlan(model.spec, options).trains || !needsNoStatistics(query);
  const job = { ...options, model, isCalibrated, allocation, destination: memoryDestination(model) };
  return await pruneModel({ ...job, queryOf: () => query }, options);
}
