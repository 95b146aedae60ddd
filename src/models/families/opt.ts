/**
 * OPT (Zhang et al., arXiv 2205.01068): learned positions, LayerNorm before each half of a block, biases. Names and
 * arithmetic as `OPTForCausalLM` of transformers. Not yet: LayerNorm after (opt-350m) and an embedding
 * narrower than the hidden states (opt-350m).
 */

import { z } from "zod";
import { ModelError } from "../error.ts";
import { attend } from "../pieces/attention.ts";
import { normalize } from "../pieces/norm.ts";
import { project, projectOnto } from "../pieces/linear.ts";
import { activationName, positive, readConfig } from "./config.ts";
import type { BlockSpec, Family, LinearGroup, LinearSpec, ModelSpec, NormSpec } from "./family.ts";

/** Rows of the position table before that of the first token: it was made for padded batches. */
const POSITION_OFFSET = 2;

/** torch.nn.LayerNorm's own; OPT's configuration has no setting for it. */
const LAYER_NORM_EPS = 1e-5;

const schema = z.object({
  hidden_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  ffn_dim: positive,
  vocab_size: positive,
  max_position_embeddings: positive,
  activation_function: activationName.default("relu"),
  word_embed_proj_dim: positive.optional(),
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
    refuseUnsupported(config);
    // Checkpoints saved from the bare OPTModel lack the outer `model.`.
    const root = has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
    const embedding = `${root}embed_tokens`;
    return {
      hiddenSize: config.hidden_size,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: config.max_position_embeddings,
      embedding: {
        tokens: `${embedding}.weight`,
        positions: { name: `${root}embed_positions.weight`, offset: POSITION_OFFSET },
      },
      block: blockSpec(config, root),
      finalNorm: config._remove_final_layer_norm ? undefined : norm(config, `${root}final_layer_norm`),
      head: {
        name: config.tie_word_embeddings ? embedding : "lm_head",
        outFeatures: config.vocab_size,
        inFeatures: config.hidden_size,
        bias: false,
      },
    };
  },
};

function refuseUnsupported(config: Config): void {
  const { hidden_size: hidden, num_attention_heads: heads, word_embed_proj_dim: width = hidden } = config;
  if (!config.do_layer_norm_before) {
    throw new ModelError("config.json: do_layer_norm_before = false (as in opt-350m) is not supported yet");
  }
  if (width !== hidden) {
    throw new ModelError(
      `config.json: word_embed_proj_dim ${width} other than hidden_size ${hidden} is not supported yet`,
    );
  }
  if (hidden % heads !== 0) {
    throw new ModelError(`config.json: hidden_size ${hidden} is no multiple of num_attention_heads ${heads}`);
  }
}

function blockSpec(config: Config, root: string): BlockSpec {
  const { hidden_size: hidden, ffn_dim: wide, num_attention_heads: heads } = config;
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
      const [q, k, v] = project(pass, qkv, normalize(pass, attentionNorm, x));
      const attended = attend(pass, { q, k, v, heads, headDim: hidden / heads });
      projectOnto(pass, out, attended, x);
      const [inner] = project(pass, fc1, normalize(pass, feedForwardNorm, x), config.activation_function);
      projectOnto(pass, fc2, inner, x);
    },
  };
}

function norm(config: Config, name: string): NormSpec {
  return {
    name,
    size: config.hidden_size,
    eps: LAYER_NORM_EPS,
    affine: config.layer_norm_elementwise_affine,
  };
}
