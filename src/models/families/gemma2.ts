/**
 * The family Gemma 2 (arXiv 2408.00118): LLaMA's block with norms before and after each half, limited attention
 * scores and logits, and a sliding window in every other block, as in transformers' `Gemma2ForCausalLM`.
 */

import { z } from "zod";
import { positive, readConfig } from "./config/config.ts";
import { readLayerTypes } from "./config/layer_types.ts";
import type { Family } from "./family.ts";
import { gemmaShape, gemmaTraits } from "./llama/gemma_traits.ts";
import { llamaModel } from "./llama/llama_model.ts";

/** The defaults are those of the class `Gemma2Config` in transformers. */
const schema = z.object({
  ...gemmaShape,
  max_position_embeddings: positive.default(8192),
  final_logit_softcapping: z.number().positive().nullable().default(30),
  attn_logit_softcapping: z.number().positive().nullable().default(50),
});

export const gemma2: Family = {
  modelType: "gemma2",
  read(object, has) {
    const config = readConfig(schema, object);
    const isSliding = readLayerTypes(config, (index) => index % 2 === 0);
    return llamaModel({ ...config, hidden_act: config.hidden_activation }, has, {
      ...gemmaTraits(config, isSliding),
      attentionSoftCap: config.attn_logit_softcapping ?? undefined,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
    });
  },
};
