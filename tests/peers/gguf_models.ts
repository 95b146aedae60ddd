/** The models that `gguf_test.ts` exports: every family with an architecture in llama.cpp, and every kind of rotation. */

import { FAMILY_MODELS, LLAMA, type Settings, VOCABULARY } from "../../scripts/fixtures/family_models.ts";
import { LINEAR_ATTENTION } from "../../scripts/fixtures/model_settings.ts";
import { MAMBA_MODELS } from "../../scripts/fixtures/mamba_models.ts";

/** Sizes of which the rows are whole blocks of 32 weights. */
const BASE: Settings = { ...LLAMA, hidden_size: 64, intermediate_size: 96, num_hidden_layers: 4 };
const LLAMA3 = {
  ...{ rope_type: "llama3", rope_theta: 100, factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  original_max_position_embeddings: 16,
};
const LONGROPE = { rope_type: "longrope", rope_theta: 100, short_factor: [1, 2, 3], long_factor: [2, 3, 5] };

const YARN = { rope_type: "yarn", rope_theta: 100, factor: 4, original_max_position_embeddings: 16 };

/** The latents and the experts of DeepSeek and GLM-4.5, without experts in the first block. */
const DEEPSEEK: Settings = {
  ...{ ...BASE, num_key_value_heads: 4, q_lora_rank: 32, kv_lora_rank: 32 },
  ...{ qk_nope_head_dim: 12, qk_rope_head_dim: 4, v_head_dim: 8, first_k_dense_replace: 1 },
  ...{ moe_intermediate_size: 32, n_routed_experts: 6, n_shared_experts: 1, num_experts_per_tok: 2 },
};

/** The experts of Qwen. */
const QWEN: Settings = {
  ...{ ...BASE, moe_intermediate_size: 32, shared_expert_intermediate_size: 64 },
  ...{ num_experts: 5, num_experts_per_tok: 2, tie_word_embeddings: false },
};

/** Linear attention in the first of two blocks. */
const LINEAR: Settings = {
  ...{ ...LINEAR_ATTENTION, ...BASE, num_hidden_layers: 2, head_dim: 16, rms_norm_eps: 1e-6 },
  ...{ linear_key_head_dim: 32, linear_value_head_dim: 32 },
};

const GPT_OSS: Settings = {
  ...{ ...BASE, model_type: "gpt_oss", head_dim: 16, num_local_experts: 5, num_experts_per_tok: 2 },
  ...{ sliding_window: 5, tie_word_embeddings: false },
};

/** A window in two of three blocks. */
const GEMMA4: Settings = {
  ...{ ...FAMILY_MODELS.gemma4_text.base, hidden_size: 64, intermediate_size: 96, num_hidden_layers: 3 },
  layer_types: ["sliding_attention", "sliding_attention", "full_attention"],
  ...{ head_dim: 8, global_head_dim: 16, num_global_key_value_heads: 1, final_logit_softcapping: 30.5 },
};

/** Two blocks that read the keys and values of the first two. */
const GEMMA4_E2B: Settings = {
  ...{ ...GEMMA4, num_hidden_layers: 4, num_kv_shared_layers: 2, use_double_wide_mlp: true },
  layer_types: ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
  ...{ hidden_size_per_layer_input: 32, vocab_size_per_layer_input: VOCABULARY },
};

/** Mamba 2 in the first and the last of three blocks. */
const GRANITE_HYBRID: Settings = {
  ...{ ...MAMBA_MODELS.granitemoehybrid.base, hidden_size: 64, num_hidden_layers: 3 },
  layer_types: ["linear_attention", "full_attention", "linear_attention"],
  ...{ mamba_d_head: 32, intermediate_size: 32, shared_intermediate_size: 96 },
};
const GRANITE_DENSE: Settings = { ...GRANITE_HYBRID, num_local_experts: 0, num_experts_per_tok: 0 };
/** Mamba 2, a network and attention in turn. llama.cpp has no smallest step of Mamba 2. */
const NEMOTRON_H: Settings = {
  ...{ ...MAMBA_MODELS.nemotron_h.base, hidden_size: 64, intermediate_size: 96, head_dim: 16 },
  ...{ layers_block_type: ["linear_attention", "mlp", "full_attention", "linear_attention", "mlp"] },
  ...{ mamba_head_dim: 32, time_step_min: 1e-9, moe_intermediate_size: 32 },
  ...{ moe_shared_expert_intermediate_size: 64 },
};
const NEMOTRON_H_MOE: Settings = {
  ...NEMOTRON_H,
  layers_block_type: ["moe", "linear_attention", "full_attention", "moe"],
};
const ATTENTION_ONLY: Settings = {
  ...{ layer_types: Array(3).fill("full_attention"), position_embedding_type: "rope" },
};

/** The settings of the models by title. */
export const GGUF_MODELS: Readonly<Record<string, Settings>> = {
  "llama": { ...BASE, model_type: "llama", tie_word_embeddings: false },
  "llama with the rotation of LLaMA 3, and with biases": {
    ...{ ...BASE, model_type: "llama", rope_parameters: LLAMA3 },
    ...{ attention_bias: true, mlp_bias: true, tie_word_embeddings: true },
  },
  "llama with a slower rotation": {
    ...{ ...BASE, model_type: "llama", rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3 } },
  },
  "llama with YaRN": { ...BASE, model_type: "llama", rope_parameters: YARN },
  "ministral3 with larger queries past the trained length": {
    ...{ ...BASE, model_type: "ministral3", head_dim: 16 },
    rope_parameters: { ...YARN, mscale: 1, mscale_all_dim: 1, llama_4_scaling_beta: 0.3 },
  },
  "arcee": { ...BASE, model_type: "arcee" },
  "mistral": { ...BASE, model_type: "mistral", sliding_window: null },
  "qwen2": { ...BASE, model_type: "qwen2" },
  "qwen3 with YaRN and another factor of attention": {
    ...{ ...BASE, model_type: "qwen3", head_dim: 16, rope_parameters: { ...YARN, attention_factor: 1.3 } },
  },
  "qwen3": { ...BASE, model_type: "qwen3", head_dim: 8 },
  "phi3": { ...BASE, model_type: "phi3", original_max_position_embeddings: 64 },
  "phi3 with LongRoPE": {
    ...{ ...BASE, model_type: "phi3", hidden_size: 24, rope_parameters: LONGROPE },
    // llama.cpp decides by the length of its context, 256 or more, between the two lists of factors.
    ...{ original_max_position_embeddings: 300, max_position_embeddings: 512 },
  },
  "phi": FAMILY_MODELS.phi.base,
  "falcon": FAMILY_MODELS.falcon.base,
  "falcon with a key head per query head": { ...FAMILY_MODELS.falcon.base, multi_query: false },
  "falcon with two key heads and two norms, like Falcon 40B": {
    ...FAMILY_MODELS.falcon.base,
    ...FAMILY_MODELS.falcon.variants["with two key heads, like Falcon 40B"],
  },
  "falcon with two key heads and one norm, like Falcon 11B": {
    ...FAMILY_MODELS.falcon.base,
    ...FAMILY_MODELS.falcon.variants["with two key heads, one norm and biases, like Falcon 11B"],
    bias: false,
  },
  "gemma": FAMILY_MODELS.gemma.base,
  "gemma2": { ...FAMILY_MODELS.gemma2.base, query_pre_attn_scalar: 6 },
  "gemma3": {
    ...{ ...FAMILY_MODELS.gemma3_text.base, query_pre_attn_scalar: 6, num_hidden_layers: 7 },
    layer_types: undefined, // by default, all blocks but each sixth have a window
    rope_parameters: {
      full_attention: { rope_type: "linear", rope_theta: 1000, factor: 4 },
      sliding_attention: { rope_type: "default", rope_theta: 10_000 },
    },
  },
  "gemma4": GEMMA4,
  "gemma4 with values of their own": { ...GEMMA4, attention_k_eq_v: false },
  "gemma4 that rotates whole heads": {
    ...GEMMA4,
    rope_parameters: {
      full_attention: { rope_type: "proportional", rope_theta: 1000 },
      sliding_attention: { rope_type: "default", rope_theta: 100 },
    },
  },
  "gemma4 with inputs of tokens, and with shared keys and values": GEMMA4_E2B,
  "gemma4 with experts": {
    ...{ ...GEMMA4, enable_moe_block: true, num_experts: 5, top_k_experts: 2, moe_intermediate_size: 32 },
  },
  "olmo2": FAMILY_MODELS.olmo2.base,
  "olmo3": {
    ...{ ...FAMILY_MODELS.olmo3.base, num_hidden_layers: 5 },
    layer_types: undefined, // by default, all blocks but each fourth have a window
    rope_parameters: {
      full_attention: YARN,
      sliding_attention: { rope_type: "default", rope_theta: 100 },
    },
  },
  "seed_oss": { ...BASE, model_type: "seed_oss", head_dim: 24, tie_word_embeddings: false },
  "ernie4_5": FAMILY_MODELS.ernie4_5.base,
  "glm4": FAMILY_MODELS.glm4.base,
  "exaone4": { ...FAMILY_MODELS.exaone4.base, ...FAMILY_MODELS.exaone4.variants["without windows"] },
  "cohere2": { ...FAMILY_MODELS.cohere2.base, num_hidden_layers: 5, layer_types: undefined },
  "granite": FAMILY_MODELS.granite.base,
  "smollm3": { ...BASE, model_type: "smollm3", no_rope_layers: [1, 1, 1, 0] },
  "starcoder2": { ...FAMILY_MODELS.starcoder2.base, sliding_window: null },
  "gpt2": FAMILY_MODELS.gpt2.base,
  "gpt_neox": FAMILY_MODELS.gpt_neox.base,
  "gpt_neox with a feed-forward network after attention, and with whole heads that rotate": {
    ...{ ...FAMILY_MODELS.gpt_neox.base, use_parallel_residual: false, hidden_act: "gelu_new" },
    rope_parameters: { rope_type: "default", rope_theta: 100, partial_rotary_factor: 1 },
  },
  "bloom": { model_type: "bloom", vocab_size: LLAMA.vocab_size, hidden_size: 32, n_layer: 3, n_head: 4 },
  "mixtral": { ...BASE, model_type: "mixtral", num_local_experts: 4 },
  "granitemoe": { ...FAMILY_MODELS.granitemoe.base, hidden_size: 64, intermediate_size: 96 },
  "minimax_m2": { ...BASE, ...FAMILY_MODELS.minimax_m2.base, hidden_size: 64, intermediate_size: 96 },
  "qwen3_moe": {
    ...{ ...BASE, model_type: "qwen3_moe", head_dim: 8, moe_intermediate_size: 32, norm_topk_prob: true },
    ...{ num_experts: 5, num_experts_per_tok: 2 },
  },
  "olmoe": {
    ...{ ...BASE, model_type: "olmoe", num_key_value_heads: 4, num_experts: 4, num_experts_per_tok: 2 },
  },
  "qwen2_moe": { ...QWEN, model_type: "qwen2_moe" },
  "qwen3_next": { ...QWEN, ...LINEAR, model_type: "qwen3_next" },
  "qwen3_5_text": { ...LINEAR, model_type: "qwen3_5_text" },
  "qwen3_5_moe_text": { ...QWEN, ...LINEAR, model_type: "qwen3_5_moe_text" },
  "deepseek_v2 with two shared experts, and with another scale": {
    ...{ ...DEEPSEEK, model_type: "deepseek_v2", n_shared_experts: 2, routed_scaling_factor: 0.7 },
  },
  "deepseek_v3 with groups of experts": {
    ...{ ...DEEPSEEK, model_type: "deepseek_v3", n_group: 3, topk_group: 2, num_experts_per_tok: 3 },
  },
  "deepseek_v3 with YaRN, queries of the hidden states, and factors that are not normalised": {
    ...{ ...DEEPSEEK, model_type: "deepseek_v3", n_group: 1, topk_group: 1, q_lora_rank: null },
    ...{ norm_topk_prob: false, rope_parameters: { ...YARN, mscale: 0.7, mscale_all_dim: 0.7 } },
  },
  "glm4_moe": { ...DEEPSEEK, model_type: "glm4_moe", head_dim: 16, use_qk_norm: true, attention_bias: true },
  "gpt_oss": { ...GPT_OSS, rope_parameters: { rope_type: "default", rope_theta: 100 } },
  "gpt_oss with YaRN": { ...GPT_OSS, rope_parameters: YARN },
  "granitemoehybrid": GRANITE_HYBRID,
  "granitemoehybrid without experts": GRANITE_DENSE,
  "granitemoehybrid with rotations and biases": {
    ...{ ...GRANITE_DENSE, position_embedding_type: "rope", attention_bias: true },
  },
  "granitemoehybrid with attention in all blocks": { ...GRANITE_DENSE, ...ATTENTION_ONLY },
  "granitemoehybrid with experts, and attention in all blocks": { ...GRANITE_HYBRID, ...ATTENTION_ONLY },
  "nemotron_h": NEMOTRON_H,
  "nemotron_h with biases": { ...NEMOTRON_H, mlp_bias: true },
  "nemotron_h with experts": NEMOTRON_H_MOE,
  "nemotron_h with groups of experts, and factors that are not normalised": {
    ...{ ...NEMOTRON_H_MOE, num_experts_per_tok: 3, n_group: 3, topk_group: 2 },
    ...{ norm_topk_prob: false, routed_scaling_factor: 1.7 },
  },
  "llama4_text": {
    ...{ ...BASE, model_type: "llama4_text", head_dim: 16, intermediate_size: 32, intermediate_size_mlp: 64 },
    ...{ num_local_experts: 3, num_experts_per_tok: 2, interleave_moe_layer_step: 2 },
  },
};
