/**
 * The family GPT-2 (Radford et al. 2019): learned positions, a LayerNorm before each half of a block, biases,
 * and one linear layer that computes queries, keys and values. The linear layers are stored transposed. Names
 * and arithmetic follow transformers' `GPT2LMHeadModel`.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import { attend } from "../pieces/attention.ts";
import type { Activation } from "../pieces/block_pass.ts";
import { applyGroup } from "../pieces/linear.ts";
import { normalize } from "../pieces/norm.ts";
import { accumulateGroup } from "../pieces/residual.ts";
import { activationName, headDimension, headName, positive, readConfig } from "./config/config.ts";
import type { BlockSpec, Family, ModelSpec } from "./family.ts";
import { type LinearGroup, type LinearSpec, linearSpec, type NormSpec } from "../layer_specs.ts";

const schema = z.object({
  n_embd: positive,
  n_layer: positive,
  n_head: positive,
  n_inner: positive.nullish(),
  n_positions: positive,
  vocab_size: positive,
  activation_function: activationName.default("gelu_tanh"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

/** The sizes and settings of a block. */
interface BlockSettings {
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly headDim: number;
  readonly eps: number;
  readonly activation: Activation;
  /** Returns the factor of the attention scores in block `index`. */
  scale(index: number): number;
}

export const gpt2: Family = {
  modelType: "gpt2",
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    if (config.add_cross_attention) {
      throw new ModelError("config.json: add_cross_attention is true, which is not supported");
    }
    const { n_embd: hidden, n_head: heads } = config;
    const headDim = headDimension(hidden, heads, "n_head");
    const scale = config.scale_attn_weights ? 1 / Math.sqrt(headDim) : 1;
    const settings: BlockSettings = {
      hidden,
      intermediate: config.n_inner ?? 4 * hidden,
      heads,
      headDim,
      eps: config.layer_norm_epsilon,
      activation: config.activation_function,
      scale: (index) => config.scale_attn_by_inverse_layer_idx ? scale / (index + 1) : scale,
    };
    // The published checkpoints lack the prefix `transformer.`, because they were saved from the class
    // GPT2Model, which has no head.
    const root = has("wte.weight") ? "" : "transformer.";
    return {
      hiddenSize: hidden,
      blockCount: config.n_layer,
      vocabSize: config.vocab_size,
      maxTokens: config.n_positions,
      embedding: { tokens: `${root}wte.weight`, positions: { name: `${root}wpe.weight`, offset: 0 } },
      block: blockSpec(settings, root),
      finalNorm: norm(settings, `${root}ln_f`),
      head: linearSpec(headName(config.tie_word_embeddings, `${root}wte`, has), hidden, config.vocab_size),
    };
  },
};

function blockSpec(settings: BlockSettings, root: string): BlockSpec {
  const { hidden, intermediate, heads, headDim } = settings;
  const attentionNorm = norm(settings, "ln_1"), feedForwardNorm = norm(settings, "ln_2");
  const qkv: LinearGroup = [transposedSpec("attn.c_attn", hidden, 3 * hidden)];
  const out: LinearGroup = [transposedSpec("attn.c_proj", hidden, hidden)];
  const up: LinearGroup = [transposedSpec("mlp.c_fc", hidden, intermediate)];
  const down: LinearGroup = [transposedSpec("mlp.c_proj", intermediate, hidden)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, out, up, down],
    forward(pass, x, index) {
      const [buffer] = applyGroup(pass, qkv, normalize(pass, attentionNorm, x));
      // Each row of the buffer has the queries of all heads, then the keys, then the values.
      const [q, k, v] = [0, 1, 2].map((part) => ({ buffer, offset: part * hidden, ld: 3 * hidden }));
      const attended = attend(pass, { q, k, v, heads, headDim, scale: settings.scale(index) });
      accumulateGroup(pass, out, attended, x);
      const [inner] = applyGroup(pass, up, normalize(pass, feedForwardNorm, x), settings.activation);
      accumulateGroup(pass, down, inner, x);
    },
  };
}

/** Returns the declaration of a layer of the class `Conv1D`. */
function transposedSpec(name: string, inFeatures: number, outFeatures: number): LinearSpec {
  return { ...linearSpec(name, inFeatures, outFeatures, true), isTransposed: true };
}

function norm({ hidden, eps }: BlockSettings, name: string): NormSpec {
  return { kind: "layer", name, size: hidden, eps, affine: true };
}
