/**
 * The family BLOOM (Workshop et al., arXiv 2211.05100). It has ALiBi slopes instead of position embeddings, a LayerNorm after the
 * embedding, and one linear layer that computes queries, keys and values. Names and arithmetic follow transformers' `BloomForCausalLM`.
 */

import { z } from "zod";
import { alibiSlopes, attend } from "../../pieces/attention.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize, normalizeInPlace } from "../../pieces/norm.ts";
import { accumulateGroup } from "../../pieces/residual.ts";
import { BLOOM_LAYERS, GPT_BIASES, NORMS_BEFORE } from "../architecture.ts";
import { configError, epsilon, headDimension, headName, positiveInt, readConfig } from "../config/config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family } from "../model_family.ts";
import { FIXED_HEAD_SIZE } from "../units.ts";
import { layerNormSpec, type LinearGroup, linearSpec, type NormSpec } from "../../layer_specs.ts";

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
});

type Config = z.infer<typeof schema>;

export const bloom: Family = {
  modelType: "bloom",
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
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    const hidden = required(config.n_embed ?? config.hidden_size, "hidden_size");
    const heads = required(config.n_head ?? config.num_attention_heads, "n_head");
    const eps = config.layer_norm_epsilon;
    // The published checkpoints lack the prefix `transformer.`, because they were saved from the class BloomModel, which has no head.
    const root = has("word_embeddings.weight") ? "" : "transformer.";
    const embedding = `${root}word_embeddings`;
    const block = blockSpec(config, root, hidden, heads);
    return {
      hiddenSize: hidden,
      blockCount: required(config.n_layer ?? config.num_hidden_layers, "n_layer"),
      vocabSize: config.vocab_size,
      // ALiBi needs no table of positions. `seq_length` is only the length of the windows in training, so it is no limit.
      maxTokens: Infinity,
      embedding: {
        tokens: `${embedding}.weight`,
        norm: layerNormSpec(`${root}word_embeddings_layernorm`, hidden, eps),
      },
      block: () => block,
      finalNorm: layerNormSpec(`${root}ln_f`, hidden, eps),
      head: linearSpec(headName(config.tie_word_embeddings, embedding, has), hidden, config.vocab_size),
    };
  },
};

/** @throws {ModelError} if `size` is not defined */
function required(size: number | undefined, name: string): number {
  if (size === undefined) throw configError(`${name} is missing`);
  return size;
}

function blockSpec(config: Config, root: string, hidden: number, heads: number): BlockSpec {
  const { layer_norm_epsilon: eps } = config, headDim = headDimension(hidden, heads, "n_head");
  const attentionNorm = layerNormSpec("input_layernorm", hidden, eps);
  const qkv: LinearGroup = [linearSpec("self_attention.query_key_value", hidden, 3 * hidden, true)];
  const dense: LinearGroup = [linearSpec("self_attention.dense", hidden, hidden, true)];
  const feedForwardNorm = layerNormSpec("post_attention_layernorm", hidden, eps);
  const up: LinearGroup = [linearSpec("mlp.dense_h_to_4h", hidden, 4 * hidden, true)];
  const down: LinearGroup = [linearSpec("mlp.dense_4h_to_h", 4 * hidden, hidden, true)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, dense, up, down],
    traits: { heads, kvHeads: heads, headDim, intermediate: 4 * hidden, activation: "gelu_tanh" },
    forward(pass, x) {
      const normalizedInput = (norm: NormSpec) => {
        if (!config.apply_residual_connection_post_layernorm) return normalize(pass, norm, x);
        normalizeInPlace(pass, norm, x);
        return x;
      };
      const slopes = pass.workspace.constant("slopes", heads, () => alibiSlopes(heads));
      const [buffer] = applyGroup(pass, qkv, normalizedInput(attentionNorm));
      // Each row of the buffer has the layout [heads, 3, headDim].
      const [q, k, v] = [0, 1, 2].map((part) => ({ buffer, offset: part * headDim, ld: 3 * hidden }));
      const attended = attend(pass, { q, k, v, heads, headDim, headStride: 3 * headDim, slopes });
      accumulateGroup(pass, dense, attended, x);
      const [inner] = applyGroup(pass, up, normalizedInput(feedForwardNorm), "gelu_tanh");
      accumulateGroup(pass, down, inner, x);
    },
  };
}
