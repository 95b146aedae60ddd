/**
 * The families Qwen2 and Qwen3 (arXiv 2407.10671, 2505.09388). Qwen2 is LLaMA's block with biases for q, k
 * and v. Qwen3 is LLaMA's block with norms for the heads of q and k. Both follow transformers'
 * `Qwen2ForCausalLM` and `Qwen3ForCausalLM`. Some blocks may have a sliding attention window.
 */

import { z } from "zod";
import { positive, readConfig } from "./config/config.ts";
import { layerTypesShape, readLayerTypes } from "./config/layer_types.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the configuration classes in transformers. */
const qwenShape = {
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positive.nullable().default(32),
  use_sliding_window: z.boolean().default(false),
  sliding_window: positive.nullable().default(4096),
  /**
   * The number of blocks before the first block with a sliding window. If `layer_types` is present, it decides for each block
   * instead.
   */
  max_window_layers: z.int().nonnegative().default(28),
};
const qwen2Schema = z.object(qwenShape);
const qwen3Schema = z.object({
  ...qwenShape,
  head_dim: positive.nullable().default(128),
  attention_bias: z.boolean().default(false),
});

export const qwen2: Family = {
  modelType: "qwen2",
  read(object, has) {
    const config = readConfig(qwen2Schema, object);
    return llamaModel(config, has, { biases: { qkv: true }, window: windowOf(config) });
  },
};

export const qwen3: Family = {
  modelType: "qwen3",
  read(object, has) {
    const config = readConfig(qwen3Schema, object);
    const bias = config.attention_bias;
    const biases = { qkv: bias, out: bias };
    return llamaModel(config, has, { biases, queryKeyNorm: "heads", window: windowOf(config) });
  },
};

/**
 * Returns a function that gives the attention window of each block, in the form of `LlamaTraits.window`.
 * @throws {ModelError} if `layer_types` does not have one entry per block
 */
function windowOf(config: z.infer<typeof qwen2Schema>): (index: number) => number {
  const isSliding = readLayerTypes(config, (index) => index >= config.max_window_layers);
  const window = config.use_sliding_window ? config.sliding_window ?? 0 : 0;
  return (index) => isSliding(index) ? window : 0;
}
