/**
 * Compares LLaMA and Phi-3 with transformers. Their variants have all kinds of rotations, and their settings in the forms of older
 * versions of transformers.
 */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, LLAMA_BASE, SECOND_HEAD, type Variant, withDefaults } from "./random_family.ts";

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
  ...SECOND_HEAD,
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
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
