/**
 * The family OPT (Zhang et al., arXiv 2205.01068): learned positions, a LayerNorm before each half of a block, and biases. The
 * model opt-350m has its LayerNorms after each half, and rows of the embedding that are shorter than the hidden states. Names
 * and arithmetic follow transformers' `OPTForCausalLM`.
 */

import { z } from "zod";
import { attend } from "../../pieces/attention.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize, normalizeInPlace } from "../../pieces/norm.ts";
import { accumulateGroup } from "../../pieces/residual.ts";
import { activationName, headDimension, headName, positiveInt, readConfig } from "../config/config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family } from "../model_family.ts";
import { FIXED_HEAD_SIZE } from "../units.ts";
import {
  layerNormSpec,
  type LinearGroup,
  type LinearSpec,
  linearSpec,
  type NormSpec,
} from "../../layer_specs.ts";

/** The index of the first token's row in the table of positions. The rows before it were used for padding in training. */
const POSITION_OFFSET = 2;

/** The epsilon of every LayerNorm, which is the default of `torch.nn.LayerNorm`. OPT's config.json has no setting for it. */
const LAYER_NORM_EPS = 1e-5;

const schema = z.object({
  hidden_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  ffn_dim: positiveInt,
  vocab_size: positiveInt,
  max_position_embeddings: positiveInt,
  activation_function: activationName.default("relu"),
  word_embed_proj_dim: positiveInt.nullish(),
  do_layer_norm_before: z.boolean().default(true),
  enable_bias: z.boolean().default(true),
  layer_norm_elementwise_affine: z.boolean().default(true),
  _remove_final_layer_norm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof schema>;

export const opt: Family = {
  modelType: "opt",
  units: { neurons: { setting: "ffn_dim", reader: "fc2", writers: ["fc1"] }, heads: FIXED_HEAD_SIZE },
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    const { hidden_size: hidden } = config;
    const embeddingSize = config.word_embed_proj_dim ?? hidden;
    // A checkpoint that was saved from the class OPTModel, which has no head, lacks the prefix `model.`.
    const root = has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
    const embedding = `${root}embed_tokens`;
    const projection = (name: string, inFeatures: number, outFeatures: number): LinearSpec | undefined =>
      embeddingSize === hidden ? undefined : linearSpec(root + name, inFeatures, outFeatures);
    const hasFinalNorm = config.do_layer_norm_before && !config._remove_final_layer_norm;
    const block = blockSpec(config, root);
    return {
      hiddenSize: hidden,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: config.max_position_embeddings,
      embedding: {
        tokens: `${embedding}.weight`,
        projection: projection("project_in", embeddingSize, hidden),
        positions: { name: `${root}embed_positions.weight`, offset: POSITION_OFFSET },
      },
      block: () => block,
      finalNorm: hasFinalNorm ? norm(config, `${root}final_layer_norm`) : undefined,
      headProjection: projection("project_out", hidden, embeddingSize),
      head: linearSpec(
        headName(config.tie_word_embeddings, embedding, has),
        embeddingSize,
        config.vocab_size,
      ),
    };
  },
};

function blockSpec(config: Config, root: string): BlockSpec {
  const { hidden_size: hidden, ffn_dim: intermediate, num_attention_heads: heads, enable_bias: bias } =
    config;
  const headDim = headDimension(hidden, heads);
  const attentionNorm = norm(config, "self_attn_layer_norm");
  const qkv: LinearGroup = [
    linearSpec("self_attn.q_proj", hidden, hidden, bias),
    linearSpec("self_attn.k_proj", hidden, hidden, bias),
    linearSpec("self_attn.v_proj", hidden, hidden, bias),
  ];
  const out: LinearGroup = [linearSpec("self_attn.out_proj", hidden, hidden, bias)];
  const feedForwardNorm = norm(config, "final_layer_norm");
  const fc1: LinearGroup = [linearSpec("fc1", hidden, intermediate, bias)];
  const fc2: LinearGroup = [linearSpec("fc2", intermediate, hidden, bias)];
  return {
    prefix: (block) => `${root}layers.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, out, fc1, fc2],
    forward(pass, x) {
      const normBefore = config.do_layer_norm_before;
      const [q, k, v] = applyGroup(pass, qkv, normBefore ? normalize(pass, attentionNorm, x) : x)
        .map((y) => allColumns(y, hidden));
      accumulateGroup(pass, out, attend(pass, { q, k, v, heads, headDim }), x);
      if (!normBefore) normalizeInPlace(pass, attentionNorm, x);
      const feedForwardInput = normBefore ? normalize(pass, feedForwardNorm, x) : x;
      const [inner] = applyGroup(pass, fc1, feedForwardInput, config.activation_function);
      accumulateGroup(pass, fc2, inner, x);
      if (!normBefore) normalizeInPlace(pass, feedForwardNorm, x);
    },
  };
}

function norm(config: Config, name: string): NormSpec {
  return layerNormSpec(name, config.hidden_size, LAYER_NORM_EPS, config.layer_norm_elementwise_affine);
}
