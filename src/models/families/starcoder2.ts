/**
 * The family StarCoder2 (Lozhkov et al., arXiv 2402.19173): LLaMA's attention with LayerNorms, biases and a
 * sliding window, and a feed-forward network without a gate, as in transformers' `Starcoder2ForCausalLM`.
 */

import { z } from "zod";
import { activationName, epsilon, positive, readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { plainFeedForward } from "./llama/feed_forward.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `Starcoder2Config` in transformers. */
const schema = z.object({
  ...llamaShape,
  num_key_value_heads: positive.nullable().default(2),
  hidden_act: activationName.default("gelu_tanh"),
  norm_epsilon: epsilon.default(1e-5),
  sliding_window: positive.nullish(),
  use_bias: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
});

export const starcoder2: Family = {
  modelType: "starcoder2",
  read(object, has) {
    const config = readConfig(schema, object);
    const bias = config.use_bias;
    return llamaModel({ ...config, rms_norm_eps: config.norm_epsilon }, has, {
      biases: { qkv: bias, out: bias },
      normKind: "layer",
      window: () => config.sliding_window ?? 0,
      feedForward: (sizes, activation) => plainFeedForward(sizes, activation, bias),
    });
  },
};
