/** OLMoE (Muennighoff et al., arXiv 2409.02060) has norms of queries and keys over all heads of a token. */

import { z } from "zod";
import { ATTENTION, EXPERTS, HEAD_NORMS, NORMS_BEFORE } from "../architecture.ts";
import { configError, epsilon, positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import { NEURONS_OF_EXPERTS, NORMS_OF_ALL_HEADS } from "../units.ts";

export const olmoe = llamaFamily(
  "olmoe",
  z.object({
    ...llamaShape,
    rms_norm_eps: epsilon.default(1e-5),
    attention_bias: z.boolean().default(false),
    clip_qkv: z.number().nullish(),
    num_experts: positiveInt.default(64),
    num_experts_per_tok: positiveInt.default(8),
    norm_topk_prob: z.boolean().default(false),
  }),
  ({ attention_bias: bias, ...config }) => {
    const experts = mixtureTraits(config, {
      experts: config.num_experts,
    });
    if (config.clip_qkv !== null && config.clip_qkv !== undefined) {
      throw configError(`clip_qkv ${config.clip_qkv} is not supported`);
    }
    return { biases: { qkv: bias, out: bias }, queryKeyNorm: "rows", ...experts };
  },
  {
    experts: "all",
    gguf: {
      name: "olmoe",
      layers: { ...ATTENTION, ...NORMS_BEFORE, ...HEAD_NORMS, ...EXPERTS },
      mixture: { isNormalized: false },
      needsSquareAttention: true,
      settings: { tie_word_embeddings: false },
    },
    units: { neurons: NEURONS_OF_EXPERTS, heads: NORMS_OF_ALL_HEADS, experts: ["num_experts"] },
  },
);
