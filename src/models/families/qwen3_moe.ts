/**
 * The family Qwen3-MoE (arXiv 2505.09388): Qwen3's block with a mixture of experts, as in transformers'
 * `Qwen3MoeForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import { positive, readConfig } from "./config/config.ts";
import { checkExperts } from "./config/experts_config.ts";
import type { Family } from "./family.ts";
import { GATED_LAYERS, mixtureOfExperts } from "./llama/experts.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `Qwen3MoeConfig` in transformers. */
const schema = z.object({
  ...llamaShape,
  num_key_value_heads: positive.nullable().default(4),
  attention_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: positive.nullable().default(4096),
  moe_intermediate_size: positive.default(768),
  /** Versions of transformers since 5 write `num_local_experts`. */
  num_experts: positive.nullish(),
  num_local_experts: positive.nullish(),
  num_experts_per_tok: positive.default(8),
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: positive.default(1),
  mlp_only_layers: z.array(z.int()).nullish(),
});

const DEFAULT_EXPERTS = 128;

type Config = z.infer<typeof schema>;

export const qwen3Moe: Family = {
  modelType: "qwen3_moe",
  hasExperts: true,
  read(object, has) {
    const config = readConfig(schema, object);
    requireExpertsInEveryBlock(config);
    const experts = config.num_local_experts ?? config.num_experts ?? DEFAULT_EXPERTS;
    const { num_experts_per_tok: expertsPerToken, attention_bias: bias } = config;
    checkExperts(experts, expertsPerToken, has);
    return llamaModel(config, has, {
      biases: { qkv: bias, out: bias },
      queryKeyNorm: "heads",
      window: () => config.use_sliding_window ? config.sliding_window ?? 0 : 0,
      feedForward: ({ hidden }, activation) =>
        mixtureOfExperts({
          experts,
          expertsPerToken,
          isNormalized: config.norm_topk_prob,
          hidden,
          intermediate: config.moe_intermediate_size,
          activation,
          name: "mlp",
          layers: GATED_LAYERS,
        }),
    });
  },
};

/** All blocks of a `ModelSpec` have the same layers. @throws {ModelError} if some blocks have no experts */
function requireExpertsInEveryBlock({ decoder_sparse_step: step, mlp_only_layers: layers }: Config): void {
  const setting = step > 1
    ? `decoder_sparse_step ${step}`
    : layers?.length
    ? `mlp_only_layers [${layers}]`
    : undefined;
  if (setting === undefined) return;
  throw new ModelError(`config.json: ${setting}, so some blocks have no experts, which is not supported`);
}
