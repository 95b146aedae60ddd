/**
 * Presents a model as a source in which every layer occurs once for each of several sparsities, which are numbered as levels. The pruned
 * weights are discarded, so every layer has the statistics of the dense model.
 */

import type { LayerGroup, ModelSource } from "../../client/model_source.ts";

/** Returns the name of `layer` at level `level`, which is unique in the source. */
export function levelName(layer: string, level: number): string {
  return `${layer}@${level}`;
}

/** Returns the source. All levels of a group share one Hessian, so the server factors the Hessian only once. */
export function levelSource<Hessian>(
  dense: ModelSource<Hessian>,
  levels: readonly number[],
): ModelSource<Hessian> {
  return {
    layerCount: dense.layerCount * levels.length,
    async *groups() {
      for await (const group of dense.groups()) yield await atLevels(group, levels);
    },
  };
}

async function atLevels<Hessian>(
  group: LayerGroup<Hessian>,
  levels: readonly number[],
): Promise<LayerGroup<Hessian>> {
  const { layers } = group;
  // `dense` requires a replacement for every weight. Each weight is replaced by itself, so the layer stays dense.
  for (const { name, weight } of layers) await group.replace(name, weight);
  return {
    ...group,
    layers: layers.flatMap(({ name, weight }) =>
      levels.map((level) => ({ name: levelName(name, level), weight }))
    ),
    replace: () => Promise.resolve(),
  };
}
