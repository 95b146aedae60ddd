/**
 * The family OPT (Zhang et al., arXiv 2205.01068): learned positions, a LayerNorm before each half of a block, and biases. opt-350m has
 * its LayerNorms after each half, and an embedding that is narrower than the hidden states. Names and arithmetic follow transformers'
 * `OPTForCausalLM`.
 */

import { z } from "zod";
import { attend } from "../pieces/attention.ts";
import { whole } from "../pieces/columns.ts";
import { project, projectOnto } from "../pieces/linear.ts";
import { normalize, normalizeInPlace } from "../pieces/norm.ts";
import { activationName, headDimension, positive, readConfig } from "./config.ts";
import type { BlockSpec, Family, ModelSpec } from "./family.ts";
import type { LinearGroup, LinearSpec, NormSpec } from "./layer_specs.ts";

/** The rows of the position table before the row of the first token. OPT was trained with padded batches. */
const POSITION_OFFSET = 2;

/** The default of torch.nn.LayerNorm. OPT's configuration has no setting for it. */
const LAYER_NORM_EPS = 1e-5;

const schema = z.object({
  hidden_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  ffn_dim: positive,
  vocab_size: positive,
  max_position_embeddings: positive,
  activation_function: activationName.default("relu"),
  word_embed_proj_dim: positive.nullish(),
  do_layer_norm_before: z.boolean().default(true),
  enable_bias: z.boolean().default(true),
  layer_norm_elementwise_affine: z.boolean().default(true),
  _remove_final_layer_norm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof schema>;

export const opt: Family = {
  modelType: "opt",
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    const { hidden_size: hidden } = config;
    const width = config.word_embed_proj_dim ?? hidden;
    // Checkpoints saved from the bare OPTModel lack the outer `model.`.
    const root = has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
    const embedding = `${root}embed_tokens`;
    const projection = (name: string, inFeatures: number, outFeatures: number): LinearSpec | undefined =>
      width === hidden ? undefined : { name: root + name, inFeatures, outFeatures, bias: false };
    const hasFinalNorm = config.do_layer_norm_before && !config._remove_final_layer_norm;
    return {
      hiddenSize: hidden,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: config.max_position_embeddings,
      embedding: {
        tokens: `${embedding}.weight`,
        projection: projection("project_in", width, hidden),
        positions: { name: `${root}embed_positions.weight`, offset: POSITION_OFFSET },
      },
      block: blockSpec(config, root),
      finalNorm: hasFinalNorm ? norm(config, `${root}final_layer_norm`) : undefined,
      headProjection: projection("project_out", hidden, width),
      head: {
        name: config.tie_word_embeddings ? embedding : "lm_head",
        outFeatures: config.vocab_size,
        inFeatures: width,
        bias: false,
      },
    };
  },
};

function blockSpec(config: Config, root: string): BlockSpec {
  const { hidden_size: hidden, ffn_dim: wide, num_attention_heads: heads } = config;
  const headDim = headDimension(hidden, heads);
  const linear = (name: string, inFeatures: number, outFeatures: number): LinearSpec => {
    return { name, inFeatures, outFeatures, bias: config.enable_bias };
  };
  const attentionNorm = norm(config, "self_attn_layer_norm");
  const qkv: LinearGroup = [
    linear("self_attn.q_proj", hidden, hidden),
    linear("self_attn.k_proj", hidden, hidden),
    linear("self_attn.v_proj", hidden, hidden),
  ];
  const out: LinearGroup = [linear("self_attn.out_proj", hidden, hidden)];
  const feedForwardNorm = norm(config, "final_layer_norm");
  const fc1: LinearGroup = [linear("fc1", hidden, wide)];
  const fc2: LinearGroup = [linear("fc2", wide, hidden)];
  return {
    prefix: (block) => `${root}layers.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, out, fc1, fc2],
    forward(pass, x) {
      const before = config.do_layer_norm_before;
      const [q, k, v] = project(pass, qkv, before ? normalize(pass, attentionNorm, x) : x)
        .map((y) => whole(y, hidden));
      projectOnto(pass, out, attend(pass, { q, k, v, heads, headDim }), x);
      if (!before) normalizeInPlace(pass, attentionNorm, x);
      const fed = before ? normalize(pass, feedForwardNorm, x) : x;
      const [inner] = project(pass, fc1, fed, config.activation_function);
      projectOnto(pass, fc2, inner, x);
      if (!before) normalizeInPlace(pass, feedForwardNorm, x);
    },
  };
}

function norm(config: Config, name: string): NormSpec {
  return {
    kind: "layer",
    name,
    size: config.hidden_size,
    eps: LAYER_NORM_EPS,
    affine: config.layer_norm_elementwise_affine,
  };
}
