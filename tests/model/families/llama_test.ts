/**
 * Tests LLaMA, Mistral, Qwen2, Qwen3 and Phi-3 with random weights against their forward passes in float64,
 * and the configurations that they refuse. A window in the names below is a sliding attention window.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { llama, qwen2 } from "../../../src/model/families/llama.ts";
import { readRotary } from "../../../src/model/families/config/rotary_config.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { decodedLogits, decodedRows, windowLogits } from "../../support/logits.ts";
import { forwardLlama, type LlamaConfig } from "../../reference/llama_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { randomWeights, type Shapes } from "../../support/random_weights.ts";
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
} as const satisfies LlamaConfig;

const IDS = Uint32Array.from({ length: 19 }, (_, t) => (t * t + 3 * t + 5) % 23);

/** Returns the names and shapes of the tensors that transformers saves for a configuration. */
function shapes(config: LlamaConfig): Shapes {
  const { model_type: type, hidden_size: hidden, intermediate_size: intermediate } = config;
  const dim = config.head_dim ?? hidden / config.num_attention_heads;
  const q = dim * config.num_attention_heads, kv = dim * config.num_key_value_heads;
  const all: Record<string, readonly number[]> = { "model.embed_tokens.weight": [config.vocab_size, hidden] };
  const linear = (name: string, out: number, inner: number, bias = false) => {
    all[`${name}.weight`] = [out, inner];
    if (bias) all[`${name}.bias`] = [out];
  };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const attention = `model.layers.${layer}.self_attn.`, mlp = `model.layers.${layer}.mlp.`;
    if (type === "phi3") {
      linear(`${attention}qkv_proj`, q + 2 * kv, hidden);
      linear(`${mlp}gate_up_proj`, 2 * intermediate, hidden);
    } else {
      const bias = type === "qwen2" || config.attention_bias;
      linear(`${attention}q_proj`, q, hidden, bias);
      linear(`${attention}k_proj`, kv, hidden, bias);
      linear(`${attention}v_proj`, kv, hidden, bias);
      linear(`${mlp}gate_proj`, intermediate, hidden, config.mlp_bias);
      linear(`${mlp}up_proj`, intermediate, hidden, config.mlp_bias);
    }
    linear(`${attention}o_proj`, hidden, q, config.attention_bias);
    linear(`${mlp}down_proj`, hidden, intermediate, config.mlp_bias);
    if (type === "qwen3") {
      all[`${attention}q_norm.weight`] = [dim];
      all[`${attention}k_norm.weight`] = [dim];
    }
    all[`model.layers.${layer}.input_layernorm.weight`] = [hidden];
    all[`model.layers.${layer}.post_attention_layernorm.weight`] = [hidden];
  }
  all["model.norm.weight"] = [hidden];
  if (!config.tie_word_embeddings) all["lm_head.weight"] = [config.vocab_size, hidden];
  return all;
}

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};
const LONGROPE = { type: "longrope", short_factor: [1, 1.1, 1.5], long_factor: [1.2, 2, 7] };
const LONG = { model_type: "phi3", rope_scaling: LONGROPE, original_max_position_embeddings: 32 };

/** The models to test: the settings by which each differs from `BASE`. */
const MODELS: Readonly<Record<string, Partial<LlamaConfig>>> = {
  "LLaMA": {},
  "LLaMA with one key head per query head, and a tied head": {
    num_key_value_heads: 4,
    tie_word_embeddings: true,
  },
  "LLaMA with one key head, an explicit head size and biases": {
    num_key_value_heads: 1,
    head_dim: 10,
    attention_bias: true,
    mlp_bias: true,
  },
  "LLaMA with another theta, and ReLU": { rope_theta: 500, hidden_act: "relu" },
  "LLaMA with linear scaling of positions": { rope_scaling: { type: "linear", factor: 4 } },
  "LLaMA 3.1": { head_dim: 16, rope_theta: 500000, rope_scaling: LLAMA3 },
  "LLaMA 3.1 in the format of transformers 5": {
    head_dim: 16,
    rope_parameters: { ...LLAMA3, rope_theta: 500000 },
  },
  "Mistral with a window shorter than the text": { model_type: "mistral", sliding_window: 5 },
  "Mistral with a window as long as the text": { model_type: "mistral", sliding_window: 19 },
  "Mistral without a window": { model_type: "mistral", sliding_window: null },
  "Qwen2": { model_type: "qwen2", use_sliding_window: false, sliding_window: 5, max_window_layers: 0 },
  "Qwen2 with a window in its second block": {
    model_type: "qwen2",
    use_sliding_window: true,
    sliding_window: 4,
    max_window_layers: 1,
  },
  "Qwen3": { model_type: "qwen3", head_dim: 8, max_window_layers: 2 },
  "Qwen3 with a window in its first block": {
    model_type: "qwen3",
    head_dim: 8,
    use_sliding_window: true,
    sliding_window: 4,
    layer_types: ["sliding_attention", "full_attention"],
  },
  "Qwen3 with biases": { model_type: "qwen3", head_dim: 8, attention_bias: true, max_window_layers: 2 },
  "Phi-3": { model_type: "phi3", sliding_window: 7 },
  "Phi-3 that rotates a part of each head": { model_type: "phi3", head_dim: 8, partial_rotary_factor: 0.75 },
  "Phi-3 with LongRoPE on a text within the trained length": LONG,
  "Phi-3 with LongRoPE on a text past the trained length": { ...LONG, original_max_position_embeddings: 16 },
  "Phi-3 with LongRoPE and an explicit factor": { ...LONG, rope_scaling: { ...LONGROPE, factor: 9 } },
  "Phi-3 with LongRoPE and partial rotation in the format of transformers 5": {
    model_type: "phi3",
    head_dim: 8,
    original_max_position_embeddings: 16,
    rope_parameters: {
      ...LONGROPE,
      rope_theta: 500,
      partial_rotary_factor: 0.75,
      original_max_position_embeddings: 16,
    },
  },
};

eachBackend("the LLaMA family", (backend) => {
  for (const [name, settings] of Object.entries(MODELS)) {
    it(`computes the logits of the float64 reference for ${name}`, async () => {
      const config: LlamaConfig = { ...BASE, ...settings };
      const { source, values } = randomWeights(shapes(config));
      const spec = readModelSpec({ ...config }, source.has);
      const model = { spec, weights: source }, expected = forwardLlama(config, values, IDS);
      assertClose(await windowLogits(model, backend(), IDS), expected, 1e-5);
      const decoded = await decodedLogits(model, backend(), IDS);
      assertClose(decoded, decodedRows(expected, config.vocab_size), 1e-5, { label: "token by token" });
    });
  }
});

it("the tested LLaMA models have different logits, unless their settings mean the same", () => {
  const nameByLogits = new Map<string, string>();
  const equalPairs: string[] = [];
  for (const [name, settings] of Object.entries(MODELS)) {
    const config: LlamaConfig = { ...BASE, ...settings };
    const logits = forwardLlama(config, randomWeights(shapes(config)).values, IDS);
    const key = logits.map((logit) => logit.toFixed(3)).join();
    const other = nameByLogits.get(key);
    if (other) equalPairs.push(`${name} = ${other}`);
    nameByLogits.set(key, name);
  }
  assert.deepEqual(equalPairs, [
    "LLaMA 3.1 in the format of transformers 5 = LLaMA 3.1",
    "Mistral with a window as long as the text = LLaMA",
    "Mistral without a window = Mistral with a window as long as the text",
  ]);
});

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
  const spec = llama.read({ ...BASE }, (name) => name === "embed_tokens.weight");
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

it("Qwen2 refuses a list of layer types whose length is not the number of blocks", () => {
  const config = { ...BASE, num_hidden_layers: 2, layer_types: ["sliding_attention"] };
  assert.throws(() => qwen2.read(config, () => false), {
    name: "ModelError",
    message: /layer_types has 1 entries, num_hidden_layers is 2/,
  });
});
