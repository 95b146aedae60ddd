/**
 * Computes the names that linear layers have as modules in the transformers library. The member `quantization_config` of config.json uses
 * module names. A module name differs from the layer's name in the checkpoint only if the checkpoint was saved without a
 * head, or if the model is a Nemotron-H.
 */

import { configError } from "./families/config/config.ts";
import type { ModelSpec } from "./families/family.ts";

/** The module name of the head. It is the same in all model families, even if the head shares its weight with the embedding. */
const HEAD_MODULE = "lm_head";

/** The first parts of the names of layers in such a checkpoint, and of the module names. */
const FIRST_PARTS: readonly (readonly [layer: string, module: string])[] = [
  ["decoder.", "model.decoder."],
  ["layers.", "model.layers."],
  ["per_layer_model_projection", "model.per_layer_model_projection"],
  ["h.", "transformer.h."],
  ["backbone.", "model."],
];

/** Returns the module name of a layer. @param layer the name of the layer in the checkpoint, without `.weight` */
export function moduleName(layer: string): string {
  const [first, module] = FIRST_PARTS.find(([first]) => layer.startsWith(first)) ?? ["", ""];
  return module + layer.slice(first.length);
}

/**
 * Lists the module names of all linear layers that are not quantised. These are the head, the projections before and after the
 * transformer blocks, and the layers in the blocks, with routers, for which `isQuantized` returns false.
 *
 * @param isQuantized receives the name of a weight in a block
 * @throws {ModelError} if the model is part of a multimodal model, whose other modules are not known
 */
export function denseModules(spec: ModelSpec, isQuantized: (weight: string) => boolean): string[] {
  if (spec.isTextPart) {
    throw configError("the text part of a multimodal model cannot be stored in a quantised layout");
  }
  const projections = [spec.embedding.projection, spec.tokenInputs?.projection, spec.headProjection]
    .filter((layer) => layer !== undefined);
  const inBlocks = Array.from({ length: spec.blockCount }, (_, index) => {
    const { groups, denseLayers = [], prefix } = spec.block(index);
    return [...groups.flat(), ...denseLayers].map(({ name }) => prefix(index) + name);
  }).flat();
  return [
    HEAD_MODULE,
    ...projections.map(({ name }) => moduleName(name)),
    ...inBlocks.filter((layer) => !isQuantized(`${layer}.weight`)).map(moduleName),
  ];
}
