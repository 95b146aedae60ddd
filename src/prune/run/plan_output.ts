/** Plans the files of the result of a run: a copy of the checkpoint with its dtypes or wider ones, or a checkpoint in the layout `pack-quantized`. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { DequantizedSource } from "../../model/checkpoint/quantized/dequantized_source.ts";
import { stemOf } from "../../model/checkpoint/quantized/layout.ts";
import { planQuantized } from "../../model/checkpoint/quantized/plan_quantized.ts";
import type { QuantizedParts } from "../../model/checkpoint/quantized/quantized_parts.ts";
import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { planCopy, planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import type { Model } from "../../model/model.ts";
import { denseModules, moduleName } from "../../model/module_names.ts";
import type { GridOptions } from "../../tensor/quantization.ts";
import { linearLayers, type NameSet } from "../block_plan.ts";

export interface OutputJob {
  readonly checkpoint: Checkpoint;
  /** The weights are the checkpoint, or present some of its tensors in wider dtypes, in which the result stores them. */
  readonly model: Model;
  readonly layers: NameSet;
  /** Returns the grid of a layer in a quantised result. Absent if the result is dense. */
  readonly gridOf?: (name: string) => GridOptions | undefined;
  readonly out: string;
}

export interface OutputPlan {
  readonly plan: WritePlan;
  /** The quantised weights by name, and the tensors in which each of them is stored. */
  readonly parts: ReadonlyMap<string, QuantizedParts>;
  /** Presents the planned tensors with dense weights in place of the quantised ones, for the network of the model. */
  denseWeights(tensors: TensorSource): TensorSource;
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
    const plan = tensors === checkpoint ? planCopy(checkpoint) : planLayout(checkpoint, fs, {
      tensorsOf: ({ header }) =>
        header.tensors.map(({ name, shape }) => ({ name, dtype: tensors.info(name).dtype, shape })),
      tensors,
      config: withFloat32(checkpoint.config),
    });
    return { plan, parts: new Map(), denseWeights: (written) => written };
  }
  const weights = linearLayers(spec).filter(({ name }) => layers.has(name)).flatMap(({ name }) => {
    const grid = gridOf(name);
    return grid ? [{ name, grid, module: moduleName(stemOf(name)) }] : [];
  });
  const quantized = new Set(weights.map(({ name }) => name));
  const ignore = denseModules(spec, (name) => quantized.has(name));
  const { plan, parts } = planQuantized(checkpoint, fs, weights, ignore);
  return { plan, parts, denseWeights: (tensors) => new DequantizedSource(tensors, out, parts) };
}
