/** Compares the mixtures of experts Mixtral, Qwen3-MoE and OLMoE with transformers. */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, withDefaults } from "./random_family.ts";

const { mixtral, qwen3_moe: qwen, olmoe } = FAMILY_MODELS;

await compareFamily("Mixtral", mixtral.base, {
  ...fixtureVariants(mixtral),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with heads of another size": { settings: { head_dim: 6 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_local_experts: 8, num_attention_heads: 8, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
  "in several shards": { settings: {}, savedAs: "shards" },
});

await compareFamily("Qwen3-MoE", qwen.base, {
  ...fixtureVariants(qwen),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with the older name of the number of experts": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ num_local_experts, ...config }) => ({ ...config, num_experts: num_local_experts }),
    same: "with two of five experts",
  },
});

await compareFamily("OLMoE", olmoe.base, {
  ...fixtureVariants(olmoe),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with biases": { settings: { attention_bias: true } },
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
});
