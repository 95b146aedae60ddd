/**
 * The names of the linear layers in the networks of the transformers library. Descriptions of quantised layers in config.json use
 * these names. They are the names of the checkpoint, except in checkpoints that were saved without a head.
 */

import type { ModelSpec } from "./families/family.ts";

/** The module of the head, which the transformers library gives this name in all families, even if it shares its weight. */
const HEAD_MODULE = "lm_head";

/** The first part of a layer's name in a checkpoint without a head, and the prefix that is missing. */
const MISSING_PREFIXES: readonly (readonly [first: string, prefix: string])[] = [
  ["decoder.", "model."],
  ["layers.", "model."],
  ["h.", "transformer."],
];

/** Returns the module of a layer in a block. @param layer its name in the checkpoint, without `.weight` */
export function moduleName(layer: string): string {
  const missing = MISSING_PREFIXES.find(([first]) => layer.startsWith(first));
  return missing ? missing[1] + layer : layer;
}

/**
 * Lists the modules of all linear layers of a model that are not quantised: the head, the projections around the blocks, and
 * the other layers of the blocks.
 *
 * @param isQuantized receives the name of a weight in a block
 */
export function denseModules(spec: ModelSpec, isQuantized: (weight: string) => boolean): string[] {
  const projections = [spec.embedding.projection, spec.headProjection].filter((layer) => layer !== undefined);
  const inBlocks = Array.from(
    { length: spec.blockCount },
    (_, block) => spec.block.groups.flat().map(({ name }) => spec.block.prefix(block) + name),
  ).flat();
  return [
    HEAD_MODULE,
    ...projections.map(({ name }) => moduleName(name)),
    ...inBlocks.filter((layer) => !isQuantized(`${layer}.weight`)).map(moduleName),
  ];
}
