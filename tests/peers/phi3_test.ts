/** Compares Phi-3 models with transformers. */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, LLAMA_BASE, withDefaults } from "./random_family.ts";

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
function inOldForm({ rope_parameters, ...config }: Record<string, unknown>): Settings {
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
    rewrite: inOldForm,
    same: "with LongRoPE and partial rotation",
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4, original_max_position_embeddings: 4096 },
    rewrite: withDefaults,
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});
