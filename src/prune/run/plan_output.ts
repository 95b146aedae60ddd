/** Plans the files of the result of a run: a copy of the checkpoint with its dtypes or wider ones, or a checkpoint in the layout `pack-quantized`. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { DequantizedSource } from "../../model/formats/checkpoint/dequantized_source.ts";
import { planQuantized } from "../../model/formats/checkpoint/plan_quantized.ts";
import { readTensor, type TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { planCopy, planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import type { Model } from "../../model/model.ts";
import { denseModules } from "../../model/module_names.ts";
import type { GridOptions } from "../../tensor/quantization.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { linearLayers, type NameSet } from "../block_plan.ts";
import type { RoundLayer } from "../../protocol/run/solve_round.ts";
import { storePacked, type StoreTensors } from "../quantized_model.ts";

export interface OutputJob {
  readonly checkpoint: Checkpoint;
  /** The weights are the checkpoint, or present some of its tensors in wider dtypes, in which the result stores them. */
  readonly model: Model;
  readonly layers: NameSet;
  /** Returns the grid of a layer in a quantised result. Absent if the result is dense. */
  readonly gridOf?: (name: string) => GridOptions | undefined;
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

/**
 * Returns config.json for a checkpoint with tensors in F32. transformers loads all weights in the dtype that config.json
 * names, and BF16 would round them. The member was called `torch_dtype` before transformers 4.56.
 */
function withFloat32(config: Checkpoint["config"]): Record<string, unknown> {
  return { ...config, dtype: "float32", ..."torch_dtype" in config && { torch_dtype: "float32" } };
}

/** Plans the result of `job`. @throws {ModelError} if the layout cannot store a weight */
export function planOutput(
  { checkpoint, model: { spec, weights: tensors }, layers, gridOf, out }: OutputJob,
  fs: FileSystem,
): OutputPlan {
  if (!gridOf) {
    const hasStoredTensors = tensors === checkpoint && checkpoint.config === checkpoint.storedConfig;
    const plan = hasStoredTensors ? planCopy(checkpoint) : planLayout(checkpoint, fs, {
      tensorsOf: ({ header }) =>
        header.tensors.map(({ name, shape }) => ({ name, dtype: tensors.info(name).dtype, shape })),
      tensors,
      config: tensors === checkpoint ? checkpoint.config : withFloat32(checkpoint.config),
    });
    return {
      plan,
      result: (weights) => ({ spec, weights }),
      read: readTensor,
      stored: (name, tensor) => Promise.resolve(new Map([[name, tensor]])),
    };
  }
  const weights = linearLayers(spec).filter(({ name }) => layers.has(name)).flatMap(({ name }) => {
    const grid = gridOf(name);
    return grid ? [{ name, grid }] : [];
  });
  const quantized = new Set(weights.map(({ name }) => name));
  const ignore = denseModules(spec, (name) => quantized.has(name));
  const { plan, stored } = planQuantized(checkpoint, fs, weights, ignore);
  return {
    plan,
    result: (written) => ({ spec, weights: new DequantizedSource(written, out, stored) }),
    read: (written, name) => readTensor(new DequantizedSource(written, out, stored), name),
    takeAnswer: (layer, store) => storePacked(layer, gridOf(layer.layer.name), store),
    stored: (name, tensor) => Promise.resolve(new Map(stored.has(name) ? [] : [[name, tensor]])),
  };
}
