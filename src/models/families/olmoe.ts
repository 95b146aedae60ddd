/**
 * The family OLMoE (Muennighoff et al., arXiv 2409.02060): LLaMA's block with norms of queries and keys over
 * all heads of a token, and with a mixture of experts, as in transformers' `OlmoeForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import { epsilon, positive, readConfig } from "./config/config.ts";
import { checkExperts } from "./config/experts_config.ts";
import type { Family } from "./family.ts";
import { GATED_LAYERS, mixtureOfExperts } from "./llama/experts.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `OlmoeConfig` in transformers. */
const schema = z.object({
  ...llamaShape,
  rms_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(false),
  clip_qkv: z.number().nullish(),
  num_experts: positive.default(64),
  num_experts_per_tok: positive.default(8),
  norm_topk_prob: z.boolean().default(false),
});

export const olmoe: Family = {
  modelType: "olmoe",
  hasExperts: true,
  read(object, has) {
    const config = readConfig(schema, object);
    const { num_experts: experts, num_experts_per_tok: expertsPerToken, attention_bias: bias } = config;
    checkExperts(experts, expertsPerToken, has);
    if (config.clip_qkv !== null && config.clip_qkv !== undefined) {
      throw new ModelError(`config.json: clip_qkv ${config.clip_qkv} is not supported`);
    }
    return llamaModel(config, has, {
      biases: { qkv: bias, out: bias },
      queryKeyNorm: "rows",
      feedForward: ({ hidden, intermediate }, activation) =>
        mixtureOfExperts({
          experts,
          expertsPerToken,
          isNormalized: config.norm_topk_prob,
          hidden,
          intermediate,
          activation,
          name: "mlp",
          layers: GATED_LAYERS,
        }),
    });
  },
};
