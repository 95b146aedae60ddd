/** Compares every model family with a mixture of experts, and those with linear attention, with transformers. */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, type Variant, withDefaults } from "./random_family.ts";

const { mixtral, qwen2_moe, qwen3_moe, olmoe, deepseek_v2, deepseek_v3, glm4_moe, gpt_oss, llama4_text } =
  FAMILY_MODELS;
const {
  gemma4_text,
  gemma4_text_e2b,
  qwen3_next,
  qwen3_5_text,
  qwen3_5_moe_text,
  granitemoe,
  granitemoehybrid,
  minimax_m2,
  nemotron_h,
} = FAMILY_MODELS;

// With a larger factor of logits, pruning changes the perplexity by more than 1 %.
await compareFamily("Granite MoE", { ...granitemoe.base, logits_scaling: 0.2 }, {
  ...fixtureVariants(granitemoe),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { num_local_experts: 8, num_key_value_heads: 4 },
    rewrite: withDefaults,
  },
});

await compareFamily("MiniMax-M2", minimax_m2.base, {
  ...fixtureVariants(minimax_m2),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a rotation whose size is a number of dimensions": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ rope_parameters: _, router_jitter_noise: __, ...config }) => (
      { ...config, rope_theta: 100, rotary_dim: 4 }
    ),
    same: "with two of five experts",
  },
});

await compareFamily("Mixtral", mixtral.base, {
  ...fixtureVariants(mixtral),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with heads of another size": { settings: { head_dim: 6 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_local_experts: 8, num_attention_heads: 8, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
  "in several shards": { settings: {}, savedAs: "shards" },
  "with one tensor for all experts": {
    settings: {},
    savedAs: "fused",
    // Pare then has other names of layers than the statistics of transformers.
    rewrite: ({ router_jitter_noise: _, ...config }) => config,
    same: "in several shards",
  },
});

await compareFamily("gpt-oss", gpt_oss.base, {
  ...fixtureVariants(gpt_oss),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { num_local_experts: 128, head_dim: 64, num_attention_heads: 8, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
  "in several shards": { settings: {}, savedAs: "shards" },
  "in a file of torch.save": { settings: {}, savedAs: "pickle", same: "in several shards" },
});

await compareFamily("Qwen3-MoE", qwen3_moe.base, {
  ...fixtureVariants(qwen3_moe),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with the older name of the number of experts": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ num_local_experts, ...config }) => ({ ...config, num_experts: num_local_experts }),
    same: "with two of five experts",
  },
});

await compareFamily("LLaMA 4", llama4_text.base, {
  ...fixtureVariants(llama4_text),
  "with experts in its first block": { settings: { moe_layers: [0] } },
  "with experts in every block, and with biases of attention": {
    // In a block that does not rotate, biases of keys have no effect.
    settings: {
      moe_layers: null,
      interleave_moe_layer_step: 1,
      attention_bias: true,
      no_rope_layers: [1, 1],
    },
  },
  "with an interval of blocks that do not rotate": {
    settings: { no_rope_layers: null, no_rope_layer_interval: 3, num_hidden_layers: 3 },
    rewrite: ({ no_rope_layers: _, layer_types: __, router_jitter_noise: ___, ...config }) => config,
  },
  "with a tied head": { settings: { tie_word_embeddings: true } },
});

await compareFamily("Gemma 4", gemma4_text.base, {
  ...fixtureVariants(gemma4_text),
  "with one key head in its second block": { settings: { num_global_key_value_heads: 1 } },
  "with heads of 300 dimensions in its second block": { settings: { global_head_dim: 300 } },
  "with heads of equal sizes": { settings: { global_head_dim: 6 } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with the settings of heads in published checkpoints": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ per_layer_config: _, ...config }) => (
      { ...config, global_head_dim: 10, num_global_key_value_heads: 2 }
    ),
    same: "with keys that are also values in its second block",
  },
  "whose last block has no window, although its type says so": {
    settings: {},
    dtype: "bfloat16",
    rewrite: (config) => ({ ...config, layer_types: ["sliding_attention", "sliding_attention"] }),
    same: "with keys that are also values in its second block",
  },
  "without settings of the rotation": {
    settings: {},
    rewrite: ({ rope_parameters: _, ...config }) => config,
  },
});

await compareFamily("Gemma 4 E2B", gemma4_text_e2b.base, {
  ...fixtureVariants(gemma4_text_e2b),
  "with networks twice as large in the blocks that read keys and values of others": {
    settings: { use_double_wide_mlp: true },
  },
  "with other numbers of inputs of tokens and of key heads": {
    settings: { hidden_size_per_layer_input: 11, num_key_value_heads: 1, num_global_key_value_heads: 1 },
  },
  "with an untied head, and with more rows in the table of inputs than tokens": {
    settings: { tie_word_embeddings: false, vocab_size_per_layer_input: 40 },
    dtype: "bfloat16",
  },
  "in several shards": { settings: {}, savedAs: "shards" },
  "without a head, and without the prefix of names": {
    settings: {},
    savedAs: "headless",
    same: "in several shards",
  },
  "with the default number of inputs of tokens": {
    settings: { hidden_size_per_layer_input: 256 },
    rewrite: ({ hidden_size_per_layer_input: _, use_double_wide_mlp: __, ...config }) => config,
  },
});

const LINEAR_VARIANTS: Readonly<Record<string, Variant>> = {
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a convolution over five tokens, and with heads of other sizes": {
    settings: {
      linear_conv_kernel_dim: 5,
      linear_num_key_heads: 1,
      linear_num_value_heads: 3,
      linear_key_head_dim: 9,
      linear_value_head_dim: 5,
    },
  },
};

await compareFamily("Qwen3-Next", qwen3_next.base, {
  ...fixtureVariants(qwen3_next),
  ...LINEAR_VARIANTS,
});

await compareFamily("Qwen3.5", qwen3_5_text.base, {
  ...fixtureVariants(qwen3_5_text),
  ...LINEAR_VARIANTS,
  "with attention in the last of every three blocks": {
    settings: { layer_types: null, full_attention_interval: 3, num_hidden_layers: 3 },
    rewrite: ({ layer_types: _, ...config }) => ({ ...config, full_attention_interval: 3 }),
  },
});

await compareFamily("Qwen3.5 with experts", qwen3_5_moe_text.base, {
  ...fixtureVariants(qwen3_5_moe_text),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a wider shared expert": { settings: { shared_expert_intermediate_size: 21 } },
});

await compareFamily("Granite 4", granitemoehybrid.base, {
  ...fixtureVariants(granitemoehybrid),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with one group of heads of other sizes, and a convolution over five tokens": {
    settings: {
      ...{ mamba_n_groups: 1, mamba_n_heads: 2, mamba_d_head: "auto", mamba_d_state: 5 },
      ...{ mamba_d_conv: 5, mamba_expand: 3 },
    },
  },
  "with the older names of the types of blocks": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ time_step_limit: _, ...config }) => ({ ...config, layer_types: ["mamba", "attention"] }),
    same: "with two of five experts",
  },
  "with a config.json that leaves the defaults out": {
    settings: {
      ...{
        hidden_size: 64,
        num_key_value_heads: 4,
        layer_types: null,
        mamba_n_groups: 1,
        mamba_n_heads: 128,
      },
      ...{ mamba_d_head: 1, mamba_d_state: 256, mamba_d_conv: 4, num_local_experts: 8 },
      ...{ shared_intermediate_size: 1024, mamba_chunk_size: 32 },
    },
    // transformers would take minutes with its default of the size of chunks, which Pare does not read.
    rewrite: (config) => ({ ...withDefaults(config), mamba_chunk_size: 32 }),
  },
});

await compareFamily("Nemotron-H", nemotron_h.base, {
  ...fixtureVariants(nemotron_h),
  "with one group of heads of other sizes, and a convolution over five tokens": {
    settings: { n_groups: 1, mamba_num_heads: 3, mamba_head_dim: 8, ssm_state_size: 5, conv_kernel: 5 },
  },
  "with the older form of the list of blocks": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ layers_block_type: _, time_step_limit: __, ...config }) => ({
      ...config,
      hybrid_override_pattern: "M-*E",
    }),
    same: "with one block of each type",
  },
  "with a config.json that leaves the defaults out": {
    settings: {
      ...{ layers_block_type: null, num_attention_heads: 8, num_key_value_heads: 8, head_dim: 128 },
      ...{ n_groups: 8, mamba_num_heads: 128, mamba_head_dim: 64, ssm_state_size: 128, conv_kernel: 4 },
      ...{ n_routed_experts: 8, moe_intermediate_size: 7688, moe_shared_expert_intermediate_size: 7688 },
      chunk_size: 32,
    },
    rewrite: (config) => ({ ...withDefaults(config), chunk_size: 32 }),
  },
});

await compareFamily("OLMoE", olmoe.base, {
  "with one tensor for all experts": { settings: {}, dtype: olmoe.dtype, savedAs: "fused" },
  ...fixtureVariants(olmoe),
  "with two of four experts": {
    settings: {},
    dtype: olmoe.dtype,
    same: "with one tensor for all experts",
  },
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with biases": { settings: { attention_bias: true } },
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
});

await compareFamily("Qwen2-MoE", qwen2_moe.base, {
  ...fixtureVariants(qwen2_moe),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a window and without a list of the types of blocks": {
    settings: { use_sliding_window: true, sliding_window: 5, max_window_layers: 1 },
    dtype: "bfloat16",
    rewrite: ({ layer_types: _, ...config }) => config,
    same: "with a window in its first block",
  },
  "with a wider shared expert": { settings: { shared_expert_intermediate_size: 21 } },
});

/** Heads whose values are as wide as keys, or the narrowest. */
const LATENT_VARIANTS: Readonly<Record<string, Variant>> = {
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with values as wide as keys": { settings: { v_head_dim: 10 } },
  "with narrow values": { settings: { v_head_dim: 1 } },
  "with other numbers of dimensions": {
    settings: { q_lora_rank: 7, kv_lora_rank: 5, qk_nope_head_dim: 3, qk_rope_head_dim: 8 },
  },
  "with three shared experts": { settings: { n_shared_experts: 3 } },
};

await compareFamily("DeepSeek-V2", deepseek_v2.base, {
  ...fixtureVariants(deepseek_v2),
  ...LATENT_VARIANTS,
});

await compareFamily("DeepSeek-V3", deepseek_v3.base, {
  ...fixtureVariants(deepseek_v3),
  ...LATENT_VARIANTS,
});

await compareFamily("GLM-4.5", glm4_moe.base, {
  ...fixtureVariants(glm4_moe),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with two shared experts": { settings: { n_shared_experts: 2 } },
});
