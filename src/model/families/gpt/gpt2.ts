/**
 * The family GPT-2 (Radford et al. 2019): learned positions, a LayerNorm before each half of a block, biases, and one linear layer that
 * computes queries, keys and values. The linear layers are stored transposed. Names and arithmetic follow transformers' `GPT2LMHeadModel`.
 */

import { z } from "zod";
import { GPT_BIASES } from "../architecture.ts";
import { activationName, configError, epsilon, headDimension, positiveInt } from "../config/config.ts";
import { fusedQkv } from "../llama/attention_layers.ts";
import { llamaFamily } from "../llama/llama_model.ts";

const schema = z.object({
  n_embd: positiveInt,
  n_layer: positiveInt,
  n_head: positiveInt,
  n_inner: positiveInt.nullish(),
  n_positions: positiveInt,
  vocab_size: positiveInt,
  activation_function: activationName.default("gelu_tanh"),
  layer_norm_epsilon: epsilon.default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
}).transform((config) => ({
  ...config,
  hidden_size: config.n_embd,
  intermediate_size: config.n_inner ?? 4 * config.n_embd,
  num_hidden_layers: config.n_layer,
  num_attention_heads: config.n_head,
  head_dim: headDimension(config.n_embd, config.n_head, "n_head"),
  hidden_act: config.activation_function,
  rms_norm_eps: config.layer_norm_epsilon,
  max_position_embeddings: config.n_positions,
}));

/** The options of layers of the class `Conv1D`. */
const CONV1D = { bias: true, isTransposed: true };

export const gpt2 = llamaFamily("gpt2", schema, (config, has) => {
  if (config.add_cross_attention) {
    throw configError("add_cross_attention is true, which is not supported");
  }
  // The published checkpoints lack the prefix `transformer.`, because they were saved from the class GPT2Model, which has no head.
  const root = has("wte.weight") ? "" : "transformer.";
  return {
    root,
    names: {
      layers: "h",
      embed_tokens: "wte",
      input_layernorm: "ln_1",
      post_attention_layernorm: "ln_2",
      norm: "ln_f",
    },
    norm: { kind: "layer" },
    hasRotary: false,
    embedding: { positions: { name: `${root}wpe.weight`, offset: 0 } },
    scale: config.scale_attn_weights ? undefined : 1,
    attentionDivisor: (index) => config.scale_attn_by_inverse_layer_idx ? index + 1 : 1,
    attention: (sizes) => fusedQkv(sizes, ["attn.c_attn", "attn.c_proj"], CONV1D),
    network: { layers: { up: "c_fc", down: "c_proj" }, ...CONV1D },
  };
}, {
  gguf: {
    name: "gpt2",
    layers: {
      "attn.c_attn": "attn_qkv",
      "attn.c_proj": "attn_output",
      "mlp.c_fc": "ffn_up",
      "mlp.c_proj": "ffn_down",
      "ln_1": "attn_norm",
      "ln_2": "ffn_norm",
    },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    settings: { scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false },
  },
  units: { neurons: "its weights are stored transposed" },
});
