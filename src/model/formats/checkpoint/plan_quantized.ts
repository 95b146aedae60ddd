/** Plans a checkpoint in which some weights have the layout `pack-quantized`. All other tensors are copied bit for bit. */

import type { FileSystem } from "../../../base/files/file_system.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";
import { isFloatDtype } from "../../../tensor/dtype.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { planLayout, type WritePlan } from "../../checkpoint/write/write_plan.ts";
import { makeQuantizedConfig } from "../config/quantization_config.ts";
import { quantizedNames, type QuantizedParts, quantizedSpecs, stemOf, unstorableReason } from "../codes/packed_layout.ts";
import type { StoredWeight } from "../format.ts";
import { packedWeight } from "../pack_quantized.ts";

export interface QuantizedWeightPlan {
  readonly name: string;
  readonly grid: GridOptions;
  /** The name of the layer's module in the network, such as `model.decoder.layers.0.fc1`. */
  readonly module: string;
}

/**
 * Plans a quantised copy of `checkpoint`. The tensors of its `weights` must be written by `OpenCopy.replace`.
 * @param ignore the modules of the linear layers that are not quantised
 * @returns the plan, and by the name of each weight the tensors that store it
 * @throws {ModelError} if a weight does not exist, or if the layout cannot store it
 */
export function planQuantized(
  checkpoint: Checkpoint,
  fs: FileSystem,
  weights: readonly QuantizedWeightPlan[],
  ignore: readonly string[],
): { readonly plan: WritePlan; readonly stored: ReadonlyMap<string, StoredWeight> } {
  const parts = new Map(weights.map(({ name, grid }) => [name, describeParts(checkpoint, name, grid)]));
  const plan = planLayout(checkpoint, fs, {
    tensors: checkpoint,
    config: makeQuantizedConfig(checkpoint.config, weights, ignore),
    tensorsOf: ({ header }) =>
      header.tensors.flatMap((info) => {
        const quantized = parts.get(info.name);
        return quantized ? quantizedSpecs(stemOf(info.name), quantized) : [info];
      }),
  });
  const stored = new Map([...parts].map(([name, weight]) => [name, packedWeight(weight)]));
  return { plan, stored };
}

function describeParts(checkpoint: Checkpoint, name: string, grid: GridOptions): QuantizedParts {
  const { dtype, shape } = checkpoint.info(name), { folder } = checkpoint;
  if (!isFloatDtype(dtype) || shape.length !== 2) {
    throw new ModelError(
      `${folder}: cannot quantise ${name}: needs a 2-D float weight, got ${dtype} [${shape}]`,
    );
  }
  const [rows, cols] = shape;
  const reason = unstorableReason({ ...grid, cols });
  if (reason !== undefined) throw new ModelError(`${folder}: ${name}: ${reason}`);
  return { ...grid, weight: name, names: quantizedNames(stemOf(name)), rows, cols, dtype };
}
