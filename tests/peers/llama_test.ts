/** Compares LLaMA models with transformers. */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, LLAMA_BASE, withDefaults } from "./random_family.ts";

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
  rope_theta: 500,
};

/** Writes the rotary settings as versions of transformers before 5 did. */
function inOldForm({ rope_parameters, ...config }: Record<string, unknown>): Settings {
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
    rewrite: inOldForm,
    same: "with another theta",
  },
  "with linear scaling": {
    settings: { rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3 } },
  },
  "with linear scaling, in the form of older versions": {
    settings: { rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3 } },
    rewrite: inOldForm,
    same: "with linear scaling",
  },
  "with the scaling of LLaMA 3.1": { settings: { head_dim: 16, rope_parameters: LLAMA3 } },
  "with the scaling of LLaMA 3.1, in the form of older versions": {
    settings: { head_dim: 16, rope_parameters: LLAMA3 },
    rewrite: inOldForm,
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
