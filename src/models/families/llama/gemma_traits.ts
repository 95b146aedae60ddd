/** The settings that Gemma 2 and Gemma 3 have in common, and the traits that follow from them. */

import { z } from "zod";
import { ModelError } from "../../../files/model_error.ts";
import { activationName, positive } from "../config/config.ts";
import { layerTypesShape } from "../config/layer_types.ts";
import { llamaShape } from "./llama_model.ts";
import type { LlamaTraits } from "./llama_traits.ts";

/** The common settings. The defaults are those of the configuration classes in transformers. */
export const gemmaShape = {
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positive.nullable().default(4),
  head_dim: positive.default(256),
  hidden_activation: activationName.default("gelu_tanh"),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  query_pre_attn_scalar: z.number().positive().default(256),
  sliding_window: positive.nullable().default(4096),
  use_bidirectional_attention: z.boolean().nullish(),
};

type GemmaConfig = Pick<
  z.infer<z.ZodObject<typeof gemmaShape>>,
  | "hidden_size"
  | "attention_bias"
  | "query_pre_attn_scalar"
  | "sliding_window"
  | "use_bidirectional_attention"
>;

/**
 * Returns the common traits.
 * @param isSliding returns whether a block has a sliding window
 * @throws {ModelError} if attention is not causal
 */
export function gemmaTraits(config: GemmaConfig, isSliding: (index: number) => boolean): LlamaTraits {
  if (config.use_bidirectional_attention) {
    throw new ModelError("config.json: use_bidirectional_attention is true, which is not supported");
  }
  const { attention_bias: bias, sliding_window: window } = config;
  return {
    biases: { qkv: bias, out: bias },
    normPlacement: "around",
    normWeightOffset: 1,
    window: (index) => isSliding(index) ? window ?? 0 : 0,
    attentionScale: config.query_pre_attn_scalar ** -0.5,
    embeddingScale: Math.sqrt(config.hidden_size),
  };
}
