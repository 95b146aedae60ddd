/**
 * The family SmolLM3 (Hugging Face 2025): LLaMA's block, whose queries and keys do not rotate in some blocks,
 * as in transformers' `SmolLM3ForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import { positive, readConfig } from "./config/config.ts";
import { layerTypesShape, readLayerTypes } from "./config/layer_types.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The default of `rope_theta`. */
const DEFAULT_THETA = 2_000_000;

/** The defaults are those of the class `SmolLM3Config` in transformers. */
const schema = z.object({
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positive.nullable().default(4),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: positive.nullish(),
  /** For each block, 1 if its queries and keys rotate, and 0 otherwise. */
  no_rope_layers: z.array(z.int()).nullish(),
  /** In configurations without `no_rope_layers`, queries and keys do not rotate in the last of every so many blocks. */
  no_rope_layer_interval: positive.default(4),
  tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof schema>;

export const smolLm3: Family = {
  modelType: "smollm3",
  read(object, has) {
    const config = readConfig(schema, object);
    const { attention_bias: attention, mlp_bias: feedForward, use_sliding_window, sliding_window } = config;
    const hasRotary = rotatingBlocks(config);
    const window = use_sliding_window ? sliding_window ?? 0 : 0;
    const isSliding = readLayerTypes(config, (index) => !hasRotary(index));
    return llamaModel({ ...config, rope_theta: config.rope_theta ?? DEFAULT_THETA }, has, {
      biases: { qkv: attention, out: attention, feedForward },
      window: (index) => isSliding(index) ? window : 0,
      hasRotary,
    });
  },
};

/** Returns a function that says whether queries and keys rotate in a block. */
function rotatingBlocks(config: Config): (index: number) => boolean {
  const { no_rope_layers: flags, no_rope_layer_interval: interval, num_hidden_layers: blocks } = config;
  if (!flags) return (index) => (index + 1) % interval !== 0;
  if (flags.length !== blocks) {
    throw new ModelError(
      `config.json: no_rope_layers has ${flags.length} entries, num_hidden_layers is ${blocks}`,
    );
  }
  return (index) => flags[index] !== 0;
}
