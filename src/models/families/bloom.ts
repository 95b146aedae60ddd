/**
 * The family BLOOM (Workshop et al., arXiv 2211.05100). It uses ALiBi instead of position embeddings, has a LayerNorm after the embedding,
 * and fuses query, key and value head by head. Names and arithmetic follow transformers' `BloomForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import { alibiSlopes } from "../pieces/alibi.ts";
import { attend } from "../pieces/attention.ts";
import { project, projectOnto } from "../pieces/linear.ts";
import { normalize, normalizeInPlace } from "../pieces/norm.ts";
import { headDimension, positive, readConfig } from "./config.ts";
import type { BlockSpec, Family, ModelSpec } from "./family.ts";
import type { LinearGroup, LinearSpec, NormSpec } from "./layer_specs.ts";

/** Each size has two names: BLOOM's own, and that of transformers. */
const schema = z.object({
  hidden_size: positive.optional(),
  n_embed: positive.nullish(),
  n_layer: positive.optional(),
  num_hidden_layers: positive.optional(),
  n_head: positive.optional(),
  num_attention_heads: positive.optional(),
  vocab_size: positive,
  layer_norm_epsilon: z.number().positive().default(1e-5),
  apply_residual_connection_post_layernorm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

/** The sizes of a block. */
interface Shape {
  readonly hidden: number;
  readonly heads: number;
  readonly headDim: number;
  readonly eps: number;
  readonly normedResidual: boolean;
}

export const bloom: Family = {
  modelType: "bloom",
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    const hidden = given(config.n_embed ?? config.hidden_size, "hidden_size");
    const heads = given(config.n_head ?? config.num_attention_heads, "n_head");
    const shape: Shape = {
      hidden,
      heads,
      headDim: headDimension(hidden, heads, "n_head"),
      eps: config.layer_norm_epsilon,
      normedResidual: config.apply_residual_connection_post_layernorm,
    };
    // The published checkpoints were saved from the bare BloomModel, without the outer prefix.
    const root = has("word_embeddings.weight") ? "" : "transformer.";
    const embedding = `${root}word_embeddings`;
    return {
      hiddenSize: hidden,
      blockCount: given(config.n_layer ?? config.num_hidden_layers, "n_layer"),
      vocabSize: config.vocab_size,
      // ALiBi has no table of positions. `seq_length` is only the length that the model was trained with.
      maxTokens: Infinity,
      embedding: {
        tokens: `${embedding}.weight`,
        norm: norm(shape, `${root}word_embeddings_layernorm`),
      },
      block: blockSpec(shape, root),
      finalNorm: norm(shape, `${root}ln_f`),
      head: {
        name: config.tie_word_embeddings ? embedding : "lm_head",
        outFeatures: config.vocab_size,
        inFeatures: hidden,
        bias: false,
      },
    };
  },
};

function given(size: number | undefined, name: string): number {
  if (size === undefined) throw new ModelError(`config.json: ${name} is missing`);
  return size;
}

function blockSpec(shape: Shape, root: string): BlockSpec {
  const { hidden, heads, headDim, normedResidual } = shape;
  const linear = (name: string, inFeatures: number, outFeatures: number): LinearSpec => {
    return { name, inFeatures, outFeatures, bias: true };
  };
  const attentionNorm = norm(shape, "input_layernorm");
  const qkv: LinearGroup = [linear("self_attention.query_key_value", hidden, 3 * hidden)];
  const dense: LinearGroup = [linear("self_attention.dense", hidden, hidden)];
  const feedForwardNorm = norm(shape, "post_attention_layernorm");
  const up: LinearGroup = [linear("mlp.dense_h_to_4h", hidden, 4 * hidden)];
  const down: LinearGroup = [linear("mlp.dense_4h_to_h", 4 * hidden, hidden)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, dense, up, down],
    forward(pass, x) {
      // Each half of the block is added to its input, or to the normalised input.
      const normed = (norm: NormSpec) => {
        if (!normedResidual) return normalize(pass, norm, x);
        normalizeInPlace(pass, norm, x);
        return x;
      };
      const slopes = pass.workspace.constant("slopes", heads, () => alibiSlopes(heads));
      const [buffer] = project(pass, qkv, normed(attentionNorm));
      // A row has the layout [heads, 3, headDim].
      const [q, k, v] = [0, 1, 2].map((part) => ({ buffer, offset: part * headDim, ld: 3 * hidden }));
      projectOnto(pass, dense, attend(pass, { q, k, v, heads, headDim, headStride: 3 * headDim, slopes }), x);
      const [inner] = project(pass, up, normed(feedForwardNorm), "gelu_tanh");
      projectOnto(pass, down, inner, x);
    },
  };
}

function norm({ hidden, eps }: Shape, name: string): NormSpec {
  return { kind: "layer", name, size: hidden, eps, affine: true };
}
