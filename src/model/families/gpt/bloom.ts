/**
 * The family BLOOM (Workshop et al., arXiv 2211.05100). It has ALiBi slopes instead of position embeddings, a LayerNorm after the
 * embedding, and one linear layer that computes queries, keys and values. Names and arithmetic follow transformers' `BloomForCausalLM`.
 */

import { z } from "zod";
import { BLOOM_LAYERS, GPT_BIASES, NORMS_BEFORE } from "../architecture.ts";
import { configError, epsilon, headDimension, positiveInt } from "../config/config.ts";
import { fusedQkv } from "../llama/attention_layers.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import { FIXED_HEAD_SIZE } from "../units.ts";

/** Each size has two names, because some configurations use BLOOM's own names and others use those of transformers. */
const schema = z.object({
  hidden_size: positiveInt.optional(),
  n_embed: positiveInt.nullish(),
  n_layer: positiveInt.optional(),
  num_hidden_layers: positiveInt.optional(),
  n_head: positiveInt.optional(),
  num_attention_heads: positiveInt.optional(),
  vocab_size: positiveInt,
  layer_norm_epsilon: epsilon.default(1e-5),
  /** Whether the output of each half of a block is added to the normalised input of that half. Otherwise it is added to the input itself. */
  apply_residual_connection_post_layernorm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
}).transform((config) => {
  const hidden = required(config.n_embed ?? config.hidden_size, "hidden_size");
  const heads = required(config.n_head ?? config.num_attention_heads, "n_head");
  return {
    ...config,
    hidden_size: hidden,
    intermediate_size: 4 * hidden,
    num_hidden_layers: required(config.n_layer ?? config.num_hidden_layers, "n_layer"),
    num_attention_heads: heads,
    head_dim: headDimension(hidden, heads, "n_head"),
    hidden_act: "gelu_tanh" as const,
    rms_norm_eps: config.layer_norm_epsilon,
    // ALiBi needs no table of positions. `seq_length` is only the length of the windows in training, so it is not a limit.
    max_position_embeddings: Infinity,
  };
});

/** @throws {ModelError} if `size` is not defined */
function required(size: number | undefined, name: string): number {
  if (size === undefined) throw configError(`${name} is missing`);
  return size;
}

export const bloom = llamaFamily("bloom", schema, (config, has) => {
  // The published checkpoints lack the prefix `transformer.`, because they were saved from the class BloomModel, which has no head.
  const root = has("word_embeddings.weight") ? "" : "transformer.";
  const name = `${root}word_embeddings_layernorm`, { hidden_size: size, rms_norm_eps: eps } = config;
  return {
    root,
    names: { layers: "h", embed_tokens: "word_embeddings", norm: "ln_f" },
    norm: { kind: "layer" },
    normalizesStream: config.apply_residual_connection_post_layernorm,
    hasRotary: false,
    hasSlopes: true,
    embedding: { norm: { kind: "layer", name, size, eps, affine: true } },
    attention: (sizes) =>
      fusedQkv(sizes, ["self_attention.query_key_value", "self_attention.dense"], {
        bias: true,
        dividesHeads: true,
      }),
    network: { layers: { up: "dense_h_to_4h", down: "dense_4h_to_h" }, bias: true },
  };
}, {
  gguf: {
    name: "bloom",
    layers: { ...BLOOM_LAYERS, ...NORMS_BEFORE },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    rowOrder: "heads",
    settings: { apply_residual_connection_post_layernorm: false },
  },
  units: {
    neurons: "its feed-forward networks always have 4 · hidden_size neurons",
    heads: FIXED_HEAD_SIZE,
  },
});
