/** Reads the types of the blocks of a model, some of which may have a sliding attention window. */

import { z } from "zod";
import { ModelError } from "../../../files/model_error.ts";

/** The setting with the type of each block. The schema of a family includes it. */
export const layerTypesShape = {
  layer_types: z.array(z.enum(["full_attention", "sliding_attention"])).nullish(),
};

/** The settings from which the types are read. */
interface LayerTypesConfig extends z.infer<z.ZodObject<typeof layerTypesShape>> {
  readonly num_hidden_layers: number;
}

/**
 * Returns a function that says whether a block has a sliding window.
 * @param byDefault the same function for configurations without `layer_types`
 * @throws {ModelError} if `layer_types` does not have one entry per block
 */
export function readLayerTypes(
  { layer_types: types, num_hidden_layers: blocks }: LayerTypesConfig,
  byDefault: (index: number) => boolean,
): (index: number) => boolean {
  if (!types) return byDefault;
  if (types.length === blocks) return (index) => types[index] === "sliding_attention";
  throw new ModelError(
    `config.json: layer_types has ${types.length} entries, num_hidden_layers is ${blocks}`,
  );
}
