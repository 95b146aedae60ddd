/** Compares Gemma 2 and Gemma 3 models with transformers. */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, withDefaults } from "./random_family.ts";

const { gemma2, gemma3_text: gemma3 } = FAMILY_MODELS;

/** The sizes that both families have by default. */
const DEFAULT_SIZES = { head_dim: 256, num_attention_heads: 4, num_key_value_heads: 4 };

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
function inOldForm({ rope_parameters, layer_types: _, ...config }: Record<string, unknown>) {
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
    rewrite: inOldForm,
    same: "with a window in its first block",
  },
  "with a longer pattern of windows": {
    settings: { num_hidden_layers: 6, layer_types: null, rope_parameters: null },
    rewrite: ({ layer_types: _, ...config }) => config,
  },
  "with a config.json that leaves the defaults out": { settings: DEFAULT_SIZES, rewrite: withDefaults },
});
