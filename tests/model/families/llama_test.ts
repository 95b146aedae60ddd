/** Tests how LLaMA and Qwen2 read configurations, and what they refuse. `transformers_test.ts` compares their numbers. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readRotary } from "../../../src/model/families/config/rotary_config.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const BASE = {
  model_type: "llama",
  vocab_size: 23,
  hidden_size: 24,
  intermediate_size: 37,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
};

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};
const LONGROPE = { type: "longrope", short_factor: [1, 1.1, 1.5], long_factor: [1.2, 2, 7] };

it("LLaMA 3.1 scales only pairs that rotate less than low_freq_factor says, if high_freq_factor is not larger", () => {
  // The first pair rotates as often as low_freq_factor says.
  const rotations = 32 / (2 * Math.PI), base = [1, 0.1, 0.01, 0.001];
  for (const high_freq_factor of [rotations, rotations / 2]) {
    const rope_scaling = { ...LLAMA3, low_freq_factor: rotations, high_freq_factor };
    const { frequencies } = readRotary({ max_position_embeddings: 64, rope_scaling }, 8, false);
    assertClose(frequencies(1), base.map((frequency, pair) => pair === 0 ? frequency : frequency / 8), 1e-12);
  }
});

it("dynamic scaling by a factor below 1 does not shorten the longest window", () => {
  for (const [factor, tokens] of [[0.5, 64], [3, 192]]) {
    const rope_scaling = { type: "dynamic", factor };
    assert.equal(readModelSpec({ ...BASE, rope_scaling }, () => true).maxTokens, tokens);
  }
});

it("LLaMA finds the tensor names of a checkpoint that was saved without its head", () => {
  const spec = readModelSpec(BASE, (name) => name === "embed_tokens.weight");
  assert.deepEqual([spec.block(0).prefix(1), spec.finalNorm?.name, spec.embedding.tokens], [
    "layers.1.",
    "norm",
    "embed_tokens.weight",
  ]);
});

testRefusedSettings("LLaMA", BASE, [
  [{ num_key_value_heads: 3 }, /num_attention_heads 4 is not a multiple of num_key_value_heads 3/],
  [{ hidden_size: 25 }, /hidden_size 25 is not a multiple of num_attention_heads 4/],
  [{ head_dim: 513 }, /heads of 513 dimensions are not supported; the limit is 512/],
  [{ head_dim: 7 }, /7 of the 7 dimensions of a head rotate, but the number must be even and positive/],
  [{ hidden_act: "mish" }, /hidden_act: mish is not supported/],
  [{ intermediate_size: undefined, rms_norm_eps: -1 }, /intermediate_size: .*; rms_norm_eps: /],
  [
    { rope_scaling: { type: "axial", factor: 2 } },
    /rope_type axial is not supported; the supported types are: default, mrope, linear, dynamic, yarn, llama3, longrope/,
  ],
  [{ rope_parameters: { rope_type: "dynamic" } }, /rope_type dynamic needs factor/],
  [
    { partial_rotary_factor: 0.5 },
    /partial_rotary_factor 0.5 is not supported for this model_type, must be 1/,
  ],
  [{ rope_scaling: { type: "linear" } }, /rope_type linear needs factor/],
  [{ rope_scaling: { ...LLAMA3, high_freq_factor: undefined } }, /llama3 needs high_freq_factor/],
  [{ rope_scaling: { ...LONGROPE, long_factor: [1] } }, /long_factor has 1 factors, but 3 are needed/],
]);

testRefusedSettings("Qwen2", { ...BASE, model_type: "qwen2" }, [
  [{ layer_types: ["sliding_attention"] }, /layer_types has 1 entries, num_hidden_layers is 2/],
]);
