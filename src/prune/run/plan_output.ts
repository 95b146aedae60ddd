/** Plans the files of the result of a run: a dense copy of the checkpoint, or a copy in a format with codes. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { DequantizedSource } from "../../model/formats/checkpoint/dequantized_source.ts";
import { planQuantized } from "../../model/formats/checkpoint/plan_quantized.ts";
import { codedFormat } from "../../model/formats/formats.ts";
import { readTensor, type TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { planCopy, planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import type { Model } from "../../model/model.ts";
import { denseModules } from "../../model/module_names.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { linearLayers, type NameSet } from "../block_plan.ts";
import type { RoundLayer } from "../../protocol/run/solve_round.ts";
import { gridOfQuery, packAnswer, type StoreTensors } from "../quantized_model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { RunOptions } from "../../protocol/run/options.ts";

export interface OutputJob {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  readonly layers: NameSet;
  /** The name of the format of the result. @default "dense" */
  readonly format?: RunOptions["format"];
  /** Returns the parameters of the layer `name`, whose grid it has in a result with codes. */
  queryOf(name: string): LayerQuery;
  readonly out: string;
}

/** How a result is stored: the planned files, and the tensors in which they store the tensors of the pruned model. */
export interface OutputPlan {
  readonly plan: WritePlan;
  /** Returns the model whose tensors were written. */
  result(written: TensorSource): Model;
  /** Reads a stored tensor in the shape and the dtype of the model that is pruned. */
  read(written: TensorSource, name: string): Promise<HostTensor>;
  /** Stores what an answer has besides its weight, and returns the weight that the model gets. @default the weight of the answer */
  takeAnswer?(layer: RoundLayer, store: StoreTensors): Promise<HostTensor>;
  /** Returns the tensors that store a pruned layer or a trained tensor. They are none if `takeAnswer` has stored the layer. */
  stored(name: string, tensor: HostTensor): Promise<ReadonlyMap<string, HostTensor>>;
  /** Returns the tensors that store a pruned layer, if they are others. */
  storedLayer?(name: string, weight: HostTensor): Promise<ReadonlyMap<string, HostTensor>>;
  /** Returns the columns that the stored weight of a layer has. By default, it has all. */
  keptColumns?(name: string): Uint32Array | undefined;
}

/** Plans the result of `job`. @throws {ModelError} if the format cannot store a weight */
export function planOutput(
  { checkpoint, model: { spec }, layers, format: name = "dense", queryOf, out }: OutputJob,
  fs: FileSystem,
): OutputPlan {
  const format = codedFormat(name);
  if (!format) {
    const hasStoredTensors = checkpoint.config === checkpoint.storedConfig;
    const plan = hasStoredTensors ? planCopy(checkpoint) : planLayout(checkpoint, fs, {
      tensorsOf: ({ header }) => header.tensors,
      tensors: checkpoint,
      config: checkpoint.config,
    });
    return {
      plan,
      result: (weights) => ({ spec, weights }),
      read: readTensor,
      stored: (name, tensor) => Promise.resolve(new Map([[name, tensor]])),
    };
  }
  const weights = linearLayers(spec).filter(({ name }) => layers.has(name)).flatMap(({ name }) => {
    const grid = gridOfQuery(queryOf(name));
    return grid ? [{ name, grid }] : [];
  });
  const quantized = new Set(weights.map(({ name }) => name));
  const ignore = denseModules(spec, (name) => quantized.has(name));
  const { plan, stored } = planQuantized(checkpoint, fs, format, weights, ignore);
  return {
    plan,
    result: (written) => ({ spec, weights: new DequantizedSource(written, out, stored) }),
    read: (written, name) => readTensor(new DequantizedSource(written, out, stored), name),
    async takeAnswer(answer, store) {
      const { name } = answer.layer, { tensors, dense } = packAnswer(format, queryOf(name), answer);
      if (tensors.size > 0) await store(name, tensors);
      return dense;
    },
    stored: (name, tensor) => Promise.resolve(new Map(stored.has(name) ? [] : [[name, tensor]])),
  };
}
