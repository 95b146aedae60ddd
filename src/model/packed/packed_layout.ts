/** A layout in which other programs read quantised layers. */

import type { FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorSpec } from "../../tensor/safetensors/encode.ts";
import { PACK_QUANTIZED } from "../formats/config/quantization_config.ts";
import type { LinearSpec } from "../layer_specs.ts";
import type { SymmetricCodes, SymmetricGrid, WeightShape } from "./exact_codes.ts";

/** A weight and its place in the network. */
export interface PackedWeight extends WeightShape {
  readonly dtype: FloatDtype;
  /** The name of the weight without `.weight`. */
  readonly stem: string;
  /** The name of the layer's module in the network. */
  readonly module: string;
}

/** Returns why other programs do not load the codes of a layer, as the end of a sentence about its weight. */
export function unloadableReason(
  { expertRole, isTransposed, ownClass }: LinearSpec,
  layout: PackedLayout["name"],
): string | undefined {
  // transformers 5 has one tensor for all experts of a block (5.24).
  if (expertRole !== undefined) return `belongs to an expert, which ${layout} does not support`;
  // The layouts have groups of neighbouring inputs, which are not neighbours in a transposed weight.
  if (isTransposed) return `is stored transposed (Conv1D), which ${layout} does not support`;
  // With only a warning, transformers gives such layers random weights (5.24).
  return ownClass !== undefined && layout === PACK_QUANTIZED
    ? `is of the class ${ownClass}, which transformers does not load from ${layout}`
    : undefined;
}

export interface PackedLayout {
  readonly name: "gptq" | typeof PACK_QUANTIZED;
  /** The options of `pare prune` for a model that fits the layout. */
  readonly options: string;
  /** Returns the reason why the layout cannot store a weight, as the end of a sentence about the weight. */
  misfit(weight: PackedWeight): string | undefined;
  /** Returns the tensors that replace a weight. */
  specs(weight: PackedWeight, grid: SymmetricGrid): TensorSpec[];
  /** Returns the same tensors with their values, by name. */
  pack(weight: PackedWeight, grid: SymmetricGrid, codes: SymmetricCodes): ReadonlyMap<string, HostTensor>;
  /**
   * Returns config.json.
   * @param config the config.json of the dense checkpoint
   * @param ignore the modules of the linear layers that stay dense
   */
  config(
    config: Readonly<Record<string, unknown>>,
    weights: readonly PackedWeight[],
    grid: SymmetricGrid,
    ignore: readonly string[],
  ): Record<string, unknown>;
}
