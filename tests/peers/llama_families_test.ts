/**
 * Compares the model families without experts that are derived from LLaMA with transformers. `rotary_families_test.ts` has LLaMA and
 * Phi-3, and `mixture_families_test.ts` has Qwen3.5.
 */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, LLAMA_BASE, type Variant, withDefaults } from "./random_family.ts";

const { ministral3, ernie4_5, glm4, exaone4, granite, starcoder2, smollm3, seed_oss } = FAMILY_MODELS;
const { arcee, olmo2, olmo3, cohere2, phi, gemma, gemma2, gemma3_text: gemma3 } = FAMILY_MODELS;

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

await compareFamily("Arcee", arcee.base, {
  ...fixtureVariants(arcee),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
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
  "with another theta": ANOTHER_THETA,
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

/** The default sizes of Gemma 2 and Gemma 3. */
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
  "with another theta": ANOTHER_THETA,
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
