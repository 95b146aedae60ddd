/**
 * The family Mixtral (Jiang et al., arXiv 2401.04088): Mistral's block with a mixture of experts, as in
 * transformers' `MixtralForCausalLM`.
 */

import { z } from "zod";
import { epsilon, positive, readConfig } from "./config/config.ts";
import { checkExperts } from "./config/experts_config.ts";
import type { Family } from "./family.ts";
import { mixtureOfExperts } from "./llama/experts.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `MixtralConfig` in transformers. */
const schema = z.object({
  ...llamaShape,
  num_key_value_heads: positive.nullable().default(8),
  rms_norm_eps: epsilon.default(1e-5),
  sliding_window: positive.nullish(),
  num_local_experts: positive.default(8),
  num_experts_per_tok: positive.default(2),
});

const NAME = "block_sparse_moe";

/** The default of `rope_theta`. */
const DEFAULT_THETA = 1_000_000;

export const mixtral: Family = {
  modelType: "mixtral",
  hasExperts: true,
  read(object, has) {
    const config = readConfig(schema, object);
    const { num_local_experts: experts, num_experts_per_tok: expertsPerToken } = config;
    checkExperts(experts, expertsPerToken, has);
    return llamaModel({ ...config, rope_theta: config.rope_theta ?? DEFAULT_THETA }, has, {
      window: () => config.sliding_window ?? 0,
      feedForward: ({ hidden, intermediate }, activation) =>
        mixtureOfExperts({
          experts,
          expertsPerToken,
          isNormalized: true,
          hidden,
          intermediate,
          activation,
          name: NAME,
          layers: { gate: "w1", up: "w3", down: "w2" },
        }),
    });
  },
};
