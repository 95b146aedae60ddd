/**
 * The family OPT (Zhang et al., arXiv 2205.01068): learned positions, a LayerNorm before each half of a block, and biases. The
 * model opt-350m has its LayerNorms after each half, and rows of the embedding that are shorter than the hidden states. Names
 * and arithmetic follow transformers' `OPTForCausalLM`.
 */

import { z } from "zod";
import { activationName, positiveInt } from "../config/config.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import { FIXED_HEAD_SIZE } from "../units.ts";
import { type LinearSpec, linearSpec } from "../../layer_specs.ts";

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
}).transform((config) => ({
  ...config,
  intermediate_size: config.ffn_dim,
  hidden_act: config.activation_function,
  rms_norm_eps: LAYER_NORM_EPS,
}));

export const opt = llamaFamily("opt", schema, (config, has) => {
  const { hidden_size: hidden, enable_bias: bias, do_layer_norm_before: normsBefore } = config;
  const embeddingSize = config.word_embed_proj_dim ?? hidden;
  // A checkpoint that was saved from the class OPTModel, which has no head, lacks the prefix `model.`.
  const root = has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
  const projection = (name: string, inFeatures: number, outFeatures: number): LinearSpec | undefined =>
    embeddingSize === hidden ? undefined : linearSpec(root + name, inFeatures, outFeatures);
  return {
    root,
    names: {
      "self_attn.o_proj": "self_attn.out_proj",
      ...normsBefore
        ? { input_layernorm: "self_attn_layer_norm", post_attention_layernorm: "final_layer_norm" }
        : {
          post_attention_layernorm: "self_attn_layer_norm",
          post_feedforward_layernorm: "final_layer_norm",
        },
      norm: "final_layer_norm",
    },
    norm: { kind: "layer", affine: config.layer_norm_elementwise_affine },
    normPlacement: normsBefore ? "before" : "after",
    normalizesStream: !normsBefore,
    hasFinalNorm: normsBefore && !config._remove_final_layer_norm,
    hasRotary: false,
    biases: { qkv: bias, out: bias },
    embedding: {
      projection: projection("project_in", embeddingSize, hidden),
      positions: { name: `${root}embed_positions.weight`, offset: POSITION_OFFSET },
    },
    headProjection: projection("project_out", hidden, embeddingSize),
    network: { name: "", layers: { up: "fc1", down: "fc2" }, bias },
  };
}, {
  units: { neurons: { setting: "ffn_dim", reader: "fc2", writers: ["fc1"] }, heads: FIXED_HEAD_SIZE },
});
