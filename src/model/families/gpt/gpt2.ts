/**
 * The family GPT-2 (Radford et al. 2019): learned positions, a LayerNorm before each half of a block, biases, and one linear layer that
 * computes queries, keys and values. The linear layers are stored transposed. Names and arithmetic follow transformers' `GPT2LMHeadModel`.
 */

import { z } from "zod";
import { attend } from "../../pieces/attention.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { accumulateGroup } from "../../pieces/residual.ts";
import { GPT_BIASES } from "../architecture.ts";
import {
  activationName,
  configError,
  epsilon,
  headDimension,
  headName,
  positiveInt,
  readConfig,
} from "../config/config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family } from "../model_family.ts";
import { layerNormSpec, type LinearGroup, type LinearSpec, linearSpec } from "../../layer_specs.ts";

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
});

type Config = z.infer<typeof schema>;

export const gpt2: Family = {
  modelType: "gpt2",
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
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    if (config.add_cross_attention) {
      throw configError("add_cross_attention is true, which is not supported");
    }
    const { n_embd: hidden, layer_norm_epsilon: eps } = config;
    // The published checkpoints lack the prefix `transformer.`, because they were saved from the class GPT2Model, which has no head.
    const root = has("wte.weight") ? "" : "transformer.";
    const block = blockSpec(config, root);
    return {
      hiddenSize: hidden,
      blockCount: config.n_layer,
      vocabSize: config.vocab_size,
      maxTokens: config.n_positions,
      embedding: { tokens: `${root}wte.weight`, positions: { name: `${root}wpe.weight`, offset: 0 } },
      block: () => block,
      finalNorm: layerNormSpec(`${root}ln_f`, hidden, eps),
      head: linearSpec(headName(config.tie_word_embeddings, `${root}wte`, has), hidden, config.vocab_size),
    };
  },
};

function blockSpec(config: Config, root: string): BlockSpec {
  const { n_embd: hidden, n_head: heads, layer_norm_epsilon: eps } = config;
  const headDim = headDimension(hidden, heads, "n_head");
  const intermediate = config.n_inner ?? 4 * hidden;
  const attentionNorm = layerNormSpec("ln_1", hidden, eps);
  const feedForwardNorm = layerNormSpec("ln_2", hidden, eps);
  const qkv: LinearGroup = [transposedSpec("attn.c_attn", hidden, 3 * hidden)];
  const out: LinearGroup = [transposedSpec("attn.c_proj", hidden, hidden)];
  const up: LinearGroup = [transposedSpec("mlp.c_fc", hidden, intermediate)];
  const down: LinearGroup = [transposedSpec("mlp.c_proj", intermediate, hidden)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, out, up, down],
    traits: { heads, kvHeads: heads, headDim, intermediate, activation: config.activation_function },
    forward(pass, x, index) {
      const [buffer] = applyGroup(pass, qkv, normalize(pass, attentionNorm, x));
      // Each row of the buffer has the queries of all heads, then the keys, then the values.
      const [q, k, v] = [0, 1, 2].map((part) => ({ buffer, offset: part * hidden, ld: 3 * hidden }));
      const attended = attend(pass, {
        q,
        k,
        v,
        heads,
        headDim,
        scale: attentionScale(config, headDim, index),
      });
      accumulateGroup(pass, out, attended, x);
      const input = normalize(pass, feedForwardNorm, x);
      const [inner] = applyGroup(pass, up, input, config.activation_function);
      accumulateGroup(pass, down, inner, x);
    },
  };
}

/** Returns the factor of the attention scores in block `index`. */
function attentionScale(config: Config, headDim: number, index: number): number {
  const scale = config.scale_attn_weights ? 1 / Math.sqrt(headDim) : 1;
  return config.scale_attn_by_inverse_layer_idx ? scale / (index + 1) : scale;
}

/** Returns the declaration of a layer of the class `Conv1D`. */
function transposedSpec(name: string, inFeatures: number, outFeatures: number): LinearSpec {
  return { ...linearSpec(name, inFeatures, outFeatures, true), isTransposed: true };
}
