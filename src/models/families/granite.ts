/**
 * The family Granite (IBM 2024): LLaMA's block with factors for the embedding, the attention scores, the
 * outputs of each half of a block, and the logits, as in transformers' `GraniteForCausalLM`.
 */

import { z } from "zod";
import { readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `GraniteConfig` in transformers. */
const schema = z.object({
  ...llamaShape,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  embedding_multiplier: z.number().default(1),
  attention_multiplier: z.number().default(1),
  residual_multiplier: z.number().default(1),
  logits_scaling: z.number().positive().default(1),
});

export const granite: Family = {
  modelType: "granite",
  read(object, has) {
    const config = readConfig(schema, object);
    const { attention_bias: attention, mlp_bias: feedForward } = config;
    return llamaModel(config, has, {
      biases: { qkv: attention, out: attention, feedForward },
      embeddingScale: config.embedding_multiplier,
      attentionScale: config.attention_multiplier,
      residualScale: config.residual_multiplier,
      logits: { scale: 1 / config.logits_scaling },
    });
  },
};
