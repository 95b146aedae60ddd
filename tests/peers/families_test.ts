/**
 * Compares every model family without experts with transformers. All of them are in one file, because its tests share one
 * Python process, and importing transformers takes longer than a comparison. `mixtures_test.ts` has the others.
 */

import { FAMILY_MODELS, type Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, LLAMA_BASE, type Variant, withDefaults } from "./random_family.ts";

const { gpt2, gpt_neox: neox, olmo2, granite, starcoder2, smollm3 } = FAMILY_MODELS;
const { gemma, gemma2, gemma3_text: gemma3 } = FAMILY_MODELS;
const { falcon, phi, olmo3, ministral3, ernie4_5, glm4, exaone4, cohere2 } = FAMILY_MODELS;
const { qwen3_5_text: qwen35, seed_oss } = FAMILY_MODELS;

const OPT_BASE: Settings = {
  model_type: "opt",
  vocab_size: 29,
  hidden_size: 24,
  ffn_dim: 40,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 32,
  pad_token_id: 1,
};

await compareFamily(
  "OPT",
  OPT_BASE,
  {
    "shaped like opt-125m": { settings: {} },
    "with norms after each half of a block and a smaller embedding, like opt-350m": {
      settings: { do_layer_norm_before: false, word_embed_proj_dim: 10 },
    },
    "with norms after each half of a block": { settings: { do_layer_norm_before: false } },
    "with a smaller embedding": { settings: { word_embed_proj_dim: 10 } },
    "with a larger embedding and an untied head": {
      settings: { word_embed_proj_dim: 31, tie_word_embeddings: false },
    },
    "with an untied head": { settings: { tie_word_embeddings: false } },
    "without biases and with GELU, like Galactica": {
      settings: { enable_bias: false, activation_function: "gelu" },
    },
    "with norms that have no parameters": { settings: { layer_norm_elementwise_affine: false } },
    "without the last norm": { settings: { _remove_final_layer_norm: true } },
    "with a config.json that leaves the defaults out": {
      settings: {},
      rewrite: withDefaults,
      same: "shaped like opt-125m",
    },
    "without the head in the file": { settings: {}, savedAs: "headless", same: "shaped like opt-125m" },
    "in a file of torch.save": { settings: {}, savedAs: "pickle", same: "shaped like opt-125m" },
    "with a head in the file that config.json ties to the embedding": {
      settings: { tie_word_embeddings: true },
      savedAs: "second head",
    },
    "in float16": { settings: {}, dtype: "float16" },
  },
  // Such a bias adds the same number to all scores of a query, so the softmax removes it.
  ["self_attn.k_proj.bias"],
);

const BLOOM_BASE: Settings = { model_type: "bloom", vocab_size: 29, hidden_size: 24, n_layer: 2, n_head: 4 };

await compareFamily("BLOOM", BLOOM_BASE, {
  "with four heads": { settings: {} },
  "with six heads, which is not a power of two": { settings: { n_head: 6 } },
  "with one head": { settings: { n_head: 1 } },
  "with residuals after the norms": { settings: { apply_residual_connection_post_layernorm: true } },
  "with a large epsilon": { settings: { layer_norm_epsilon: 0.01 } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: {},
    rewrite: withDefaults,
    same: "with four heads",
  },
  "with the names of sizes that published checkpoints have": {
    settings: {},
    rewrite: ({ hidden_size, n_head, n_layer, ...config }) => (
      { ...config, n_embed: hidden_size, num_attention_heads: n_head, num_hidden_layers: n_layer }
    ),
    same: "with four heads",
  },
  "without the head in the file": { settings: {}, savedAs: "headless", same: "with four heads" },
  "with a head in the file that config.json ties to the embedding": {
    settings: { tie_word_embeddings: true },
    savedAs: "second head",
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

await compareFamily("GPT-2", gpt2.base, {
  ...fixtureVariants(gpt2),
  "with a feed-forward network of the default size": { settings: { n_inner: null } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: { n_inner: null },
    rewrite: (config) => ({
      ...withDefaults(config),
      n_embd: config.n_embd,
      n_positions: config.n_positions,
    }),
    same: "with a feed-forward network of the default size",
  },
  "in several shards": { settings: {}, savedAs: "shards", same: "with four heads" },
  "without the head in the file": { settings: {}, savedAs: "headless", same: "with four heads" },
  "in a file of torch.save": { settings: {}, savedAs: "pickle", same: "with four heads" },
  "with a head in the file that config.json ties to the embedding": {
    settings: { tie_word_embeddings: true },
    savedAs: "second head",
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

await compareFamily("GPT-NeoX", neox.base, {
  ...fixtureVariants(neox),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with linear scaling": {
    settings: {
      rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3, partial_rotary_factor: 0.5 },
    },
  },
  "with the rotary settings of older versions": {
    settings: { rope_parameters: { rope_type: "default", rope_theta: 50, partial_rotary_factor: 0.5 } },
    rewrite: ({ rope_parameters: _, ...config }) => ({ ...config, rotary_pct: 0.5, rotary_emb_base: 50 }),
  },
  "with a config.json that leaves the defaults out": { settings: {}, rewrite: withDefaults },
  "in a file of torch.save": {
    settings: {},
    savedAs: "pickle",
    // One pair of dimensions rotates by default, and the angle of the first pair does not depend on theta.
    same: "with a config.json that leaves the defaults out",
  },
});

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
  rope_theta: 500,
};

const YARN = { rope_type: "yarn", rope_theta: 100, factor: 4, original_max_position_embeddings: 16 };

/** Returns a variant with heads of eight pairs. */
function yarn(settings: Settings): Variant {
  return { settings: { head_dim: 16, rope_parameters: { ...YARN, ...settings } } };
}

/** Writes the rotary settings as versions of transformers before 5 did. */
function inOldLlamaForm({ rope_parameters, ...config }: Record<string, unknown>): Settings {
  const { rope_theta, ...rope_scaling } = rope_parameters as Record<string, unknown>;
  return { ...config, rope_theta, rope_scaling: rope_scaling.rope_type === "default" ? null : rope_scaling };
}

await compareFamily("LLaMA", { model_type: "llama", ...LLAMA_BASE }, {
  "with two query heads per key head": { settings: {} },
  "with one key head": { settings: { num_key_value_heads: 1 } },
  "with one key head per query head": { settings: { num_key_value_heads: 4 } },
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with heads of another size": { settings: { head_dim: 10 } },
  "with biases of attention": { settings: { attention_bias: true } },
  "with biases of the feed-forward network": { settings: { mlp_bias: true } },
  "with a large epsilon": { settings: { rms_norm_eps: 0.1 } },
  "with GELU": { settings: { hidden_act: "gelu" } },
  "with the approximate GELU": { settings: { hidden_act: "gelu_pytorch_tanh" } },
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
  "with another theta, in the form of older versions": {
    settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } },
    rewrite: inOldLlamaForm,
    same: "with another theta",
  },
  "with linear scaling": {
    settings: { rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3 } },
  },
  "with linear scaling, in the form of older versions": {
    settings: { rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3 } },
    rewrite: inOldLlamaForm,
    same: "with linear scaling",
  },
  "with the scaling of LLaMA 3.1": { settings: { head_dim: 16, rope_parameters: LLAMA3 } },
  "with the scaling of LLaMA 3.1, in the form of older versions": {
    settings: { head_dim: 16, rope_parameters: LLAMA3 },
    rewrite: inOldLlamaForm,
    same: "with the scaling of LLaMA 3.1",
  },
  "with the scaling of LLaMA 3.1 and a longer trained length": {
    settings: {
      head_dim: 16,
      rope_parameters: { ...LLAMA3, original_max_position_embeddings: 64, factor: 3 },
    },
  },
  "with the scaling of LLaMA 3.1 and without a trained length": {
    settings: { head_dim: 16, rope_parameters: { ...LLAMA3, original_max_position_embeddings: 64 } },
    rewrite: ({ rope_parameters, ...config }) => {
      const { original_max_position_embeddings: _, ...rest } = rope_parameters as Settings;
      return { ...config, rope_parameters: rest };
    },
  },
  "with YaRN": yarn({}),
  "with YaRN, in the form of older versions": {
    ...yarn({}),
    rewrite: inOldLlamaForm,
    same: "with YaRN",
  },
  "with YaRN between other bounds": yarn({ beta_fast: 2, beta_slow: 0.1 }),
  "with YaRN between bounds that are not rounded": yarn({ beta_fast: 2, beta_slow: 0.1, truncate: false }),
  "with YaRN and an explicit factor of attention": yarn({ attention_factor: 1.3 }),
  "with YaRN and a factor of attention from two settings": yarn({ mscale: 0.7, mscale_all_dim: 0.2 }),
  "with dynamic scaling on a text past the trained length": {
    settings: {
      max_position_embeddings: 16,
      rope_parameters: { rope_type: "dynamic", rope_theta: 100, factor: 3 },
    },
  },
  "with dynamic scaling on a text within the trained length": {
    settings: { rope_parameters: { rope_type: "dynamic", rope_theta: 100, factor: 3 } },
    same: "with another theta",
  },
  "with LongRoPE": {
    settings: {
      rope_parameters: {
        rope_type: "longrope",
        rope_theta: 100,
        original_max_position_embeddings: 16,
        short_factor: [1, 1.1, 1.5],
        long_factor: [1.2, 2, 7],
      },
    },
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
    rewrite: withDefaults,
    same: "with one key head per query head",
  },
  "in several shards": { settings: {}, savedAs: "shards", same: "with two query heads per key head" },
  "without the head in the file": {
    settings: { tie_word_embeddings: true },
    savedAs: "headless",
    same: "with a tied head",
  },
  "with a head in the file that config.json ties to the embedding": {
    settings: { tie_word_embeddings: true },
    savedAs: "second head",
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

const ANOTHER_THETA: Variant = {
  settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } },
};

await compareFamily("OLMo 2", olmo2.base, {
  ...fixtureVariants(olmo2),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with one key head": { settings: { num_key_value_heads: 1 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
    rewrite: withDefaults,
  },
});

await compareFamily("OLMo 3", olmo3.base, {
  ...fixtureVariants(olmo3),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4, num_hidden_layers: 4, layer_types: undefined },
    rewrite: withDefaults,
  },
});

await compareFamily("Ministral 3", ministral3.base, {
  ...fixtureVariants(ministral3),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { head_dim: 128, num_attention_heads: 8, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
});

await compareFamily("ERNIE 4.5", ernie4_5.base, {
  ...fixtureVariants(ernie4_5),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": { settings: { head_dim: 128 }, rewrite: withDefaults },
});

await compareFamily("GLM-4", glm4.base, {
  ...fixtureVariants(glm4),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": { settings: { head_dim: 128 }, rewrite: withDefaults },
});

await compareFamily("EXAONE 4", exaone4.base, {
  ...fixtureVariants(exaone4),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a pattern of windows, and without a list of the types of blocks": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ layer_types: _, ...config }) => ({ ...config, sliding_window_pattern: 2 }),
    same: "with a window in its first block",
  },
  "with a config.json that leaves the defaults out": {
    settings: {
      hidden_size: 64,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      num_hidden_layers: 4,
      layer_types: undefined,
    },
    rewrite: withDefaults,
  },
});

await compareFamily("Cohere 2", cohere2.base, {
  ...fixtureVariants(cohere2),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a pattern of windows, and without a list of the types of blocks": {
    settings: {},
    dtype: "float16",
    rewrite: ({ layer_types: _, ...config }) => ({ ...config, sliding_window_pattern: 2 }),
    same: "with a window in its first block",
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4, num_hidden_layers: 4, layer_types: undefined },
    rewrite: withDefaults,
  },
});

await compareFamily("Phi", phi.base, {
  ...fixtureVariants(phi),
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 2 },
    rewrite: withDefaults,
  },
});

await compareFamily("Falcon", falcon.base, {
  ...fixtureVariants(falcon),
  "with one key head per query head": { settings: { multi_query: false } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: { ffn_hidden_size: null },
    rewrite: withDefaults,
  },
});

await compareFamily("Granite", granite.base, {
  ...fixtureVariants(granite),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with another theta": ANOTHER_THETA,
  "with heads of another size": { settings: { head_dim: 6 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
    rewrite: withDefaults,
  },
});

await compareFamily("StarCoder2", starcoder2.base, {
  ...fixtureVariants(starcoder2),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with another theta": ANOTHER_THETA,
  "with a config.json that leaves the defaults out": { settings: {}, rewrite: withDefaults },
});

await compareFamily("SmolLM3", smollm3.base, {
  ...fixtureVariants(smollm3),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with another theta": ANOTHER_THETA,
  "with an interval of blocks that do not rotate": {
    settings: { no_rope_layers: null, no_rope_layer_interval: 2, num_hidden_layers: 3 },
    rewrite: ({ no_rope_layers: _, layer_types: __, ...config }) => config,
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_hidden_layers: 4, num_key_value_heads: 4, no_rope_layers: null },
    rewrite: withDefaults,
  },
});

await compareFamily("Seed-OSS", seed_oss.base, {
  ...fixtureVariants(seed_oss),
  "with one key head and a tied head": { settings: { num_key_value_heads: 1, tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { head_dim: 128, num_attention_heads: 8, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
});

await compareFamily("Mistral", { model_type: "mistral", ...LLAMA_BASE }, {
  "without a sliding window": { settings: { sliding_window: null } },
  "with a sliding window of five tokens": { settings: { sliding_window: 5 } },
  "with a sliding window of two tokens": { settings: { sliding_window: 2 } },
  "with a sliding window as long as the text": {
    settings: { sliding_window: 20 },
    same: "without a sliding window",
  },
  "with a config.json that leaves the defaults out": {
    settings: { hidden_size: 32, num_attention_heads: 16, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
  "with heads of another size and a tied head": {
    settings: { sliding_window: 5, head_dim: 10, tie_word_embeddings: true },
  },
});

/** Sliding windows of four tokens in some of the blocks. */
const QWEN_SLIDING = { use_sliding_window: true, sliding_window: 4 };

const QWEN_WINDOWS: Readonly<Record<string, Variant>> = {
  "without sliding windows": { settings: {} },
  "with a sliding window that is switched off": {
    settings: { use_sliding_window: false, sliding_window: 4, max_window_layers: 0 },
    same: "without sliding windows",
  },
  "with a sliding window in every block": { settings: { ...QWEN_SLIDING, max_window_layers: 0 } },
  "with a sliding window in the second block": { settings: { ...QWEN_SLIDING, max_window_layers: 1 } },
  "with a sliding window in the first block": {
    settings: { ...QWEN_SLIDING, layer_types: ["sliding_attention", "full_attention"] },
  },
  "with a sliding window and without a list of the types of blocks": {
    settings: { ...QWEN_SLIDING, max_window_layers: 1 },
    rewrite: ({ layer_types: _, ...config }) => config,
    same: "with a sliding window in the second block",
  },
  "with a tied head": { settings: { tie_word_embeddings: true } },
};

await compareFamily("Qwen2", { model_type: "qwen2", ...LLAMA_BASE }, {
  ...QWEN_WINDOWS,
  "with a config.json that leaves the defaults out": {
    settings: { hidden_size: 64, num_attention_heads: 32, num_key_value_heads: 32 },
    rewrite: withDefaults,
  },
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
});

await compareFamily("Qwen3", { model_type: "qwen3", ...LLAMA_BASE, head_dim: 10 }, {
  ...QWEN_WINDOWS,
  "with biases of attention": { settings: { attention_bias: true } },
  "with a large epsilon, also in the norms of heads": { settings: { rms_norm_eps: 0.1 } },
  "with a config.json that leaves the defaults out": {
    settings: { head_dim: 128, num_attention_heads: 32, num_key_value_heads: 32 },
    rewrite: withDefaults,
  },
});

const LONGROPE = {
  rope_type: "longrope",
  rope_theta: 100,
  short_factor: [1, 1.1, 1.5],
  long_factor: [1.2, 2, 7],
};
const PAST_TRAINING = { original_max_position_embeddings: 16, rope_parameters: LONGROPE };
/** Heads of twelve dimensions, of which six rotate. */
const PARTIAL = {
  num_attention_heads: 2,
  original_max_position_embeddings: 16,
  rope_parameters: { ...LONGROPE, partial_rotary_factor: 0.5 },
};

/** Writes the rotary settings as the published checkpoints of Phi-3 have them. */
function inOldPhi3Form({ rope_parameters, ...config }: Record<string, unknown>): Settings {
  const { rope_theta, partial_rotary_factor, short_factor, long_factor } = rope_parameters as Settings;
  const rope_scaling = { type: "longrope", short_factor, long_factor };
  return { ...config, rope_theta, partial_rotary_factor, rope_scaling };
}

await compareFamily("Phi-3", { model_type: "phi3", ...LLAMA_BASE, original_max_position_embeddings: 64 }, {
  "without a sliding window": { settings: {} },
  "with a sliding window": { settings: { sliding_window: 7 } },
  "with one key head and a tied head": { settings: { num_key_value_heads: 1, tie_word_embeddings: true } },
  "that rotates a part of each head": {
    settings: {
      num_attention_heads: 2,
      rope_parameters: { rope_type: "default", rope_theta: 100, partial_rotary_factor: 0.5 },
    },
  },
  "with LongRoPE on a text within the trained length": {
    settings: { ...PAST_TRAINING, original_max_position_embeddings: 32 },
  },
  "with LongRoPE on a text past the trained length": { settings: PAST_TRAINING },
  "with LongRoPE and the trained length in two places": {
    settings: PAST_TRAINING,
    rewrite: ({ rope_parameters, ...config }) => (
      { ...config, rope_parameters: { ...rope_parameters as Settings, original_max_position_embeddings: 32 } }
    ),
    same: "with LongRoPE on a text past the trained length",
  },
  "with LongRoPE and the trained length only in the rotary settings, where it is ignored": {
    settings: PAST_TRAINING,
    rewrite: ({ original_max_position_embeddings: _, ...config }) => config,
  },
  "with LongRoPE and an explicit factor": {
    settings: { ...PAST_TRAINING, rope_parameters: { ...LONGROPE, factor: 9 } },
  },
  "with LongRoPE and an explicit factor of attention": {
    settings: { ...PAST_TRAINING, rope_parameters: { ...LONGROPE, attention_factor: 1.3 } },
  },
  "with LongRoPE and partial rotation": { settings: PARTIAL },
  "with LongRoPE and partial rotation, in the form of the published checkpoints": {
    settings: PARTIAL,
    rewrite: inOldPhi3Form,
    same: "with LongRoPE and partial rotation",
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4, original_max_position_embeddings: 4096 },
    rewrite: withDefaults,
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

/** The sizes that both families have by default. */
const DEFAULT_SIZES = { head_dim: 256, num_attention_heads: 4, num_key_value_heads: 4 };

await compareFamily("Gemma", gemma.base, {
  ...fixtureVariants(gemma),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with the exact GELU in config.json, which means the approximation": {
    settings: {},
    dtype: "bfloat16",
    rewrite: (config) => ({ ...config, hidden_act: "gelu" }),
    same: "with two query heads per key head",
  },
  "with a config.json that leaves the defaults out": {
    settings: { head_dim: 256, num_attention_heads: 16, num_key_value_heads: 16 },
    rewrite: withDefaults,
  },
});

await compareFamily("Gemma 2", gemma2.base, {
  ...fixtureVariants(gemma2),
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "without a list of the types of blocks": {
    settings: {},
    dtype: "bfloat16",
    rewrite: ({ layer_types: _, ...config }) => config,
    same: "with a window in its first block",
  },
  "with a config.json that leaves the defaults out": { settings: DEFAULT_SIZES, rewrite: withDefaults },
  "in float32 without the head in the file": { settings: {}, savedAs: "headless" },
});

/** Writes the rotary settings and the types of blocks as versions of transformers before 5 did. */
function inOldGemmaForm({ rope_parameters, layer_types: _, ...config }: Record<string, unknown>) {
  const { full_attention, sliding_attention } = rope_parameters as Record<string, Record<string, unknown>>;
  const { rope_theta, ...rope_scaling } = full_attention;
  return {
    ...config,
    rope_theta,
    rope_scaling,
    rope_local_base_freq: sliding_attention.rope_theta,
    sliding_window_pattern: 2,
  };
}

await compareFamily("Gemma 3", gemma3.base, {
  ...fixtureVariants(gemma3),
  "with the settings of older versions": {
    settings: {},
    dtype: "bfloat16",
    rewrite: inOldGemmaForm,
    same: "with a window in its first block",
  },
  "with a longer pattern of windows": {
    settings: { num_hidden_layers: 6, layer_types: null, rope_parameters: null },
    rewrite: ({ layer_types: _, ...config }) => config,
  },
  "with a config.json that leaves the defaults out": { settings: DEFAULT_SIZES, rewrite: withDefaults },
});

await compareFamily("Qwen3.5", qwen35.base, {
  ...fixtureVariants(qwen35),
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
  "with attention in the last of every three blocks": {
    settings: { layer_types: null, full_attention_interval: 3, num_hidden_layers: 3 },
    rewrite: ({ layer_types: _, ...config }) => ({ ...config, full_attention_interval: 3 }),
  },
});
