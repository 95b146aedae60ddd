/**
 * The family Falcon (Almazrouei et al., arXiv 2311.16867) in the form of the models with 7 billion parameters: one
 * linear layer computes queries, keys and values, and all heads can share one key head. Names and arithmetic follow
 * transformers' `FalconForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../base/files/file_error.ts";
import { attend } from "../pieces/attention.ts";
import { applyGroup } from "../pieces/linear.ts";
import { normalize } from "../pieces/norm.ts";
import { accumulateGroup } from "../pieces/residual.ts";
import { rotate } from "../pieces/rotary.ts";
import {
  activationName,
  epsilon,
  headDimension,
  headName,
  positiveInt,
  readConfig,
} from "./config/config.ts";
import { longestWindow, readRotary, rotaryShape } from "./config/rotary_config.ts";
import type { BlockSpec, Family, ModelSpec } from "./family.ts";
import { layerNormSpec, type LinearGroup, linearSpec } from "../layer_specs.ts";

const flag = z.boolean().nullish();

const schema = z.object({
  ...rotaryShape,
  max_position_embeddings: positiveInt.default(2048),
  hidden_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  ffn_hidden_size: positiveInt.nullish(),
  vocab_size: positiveInt,
  activation: activationName.default("gelu"),
  layer_norm_epsilon: epsilon.default(1e-5),
  bias: flag,
  /** Whether all query heads share one key head. */
  multi_query: z.boolean().nullable().default(true),
  /** Whether the feed-forward network runs in parallel with attention. */
  parallel_attn: z.boolean().nullable().default(true),
  /** The number of LayerNorms before the two parallel halves. */
  num_ln_in_parallel_attn: z.literal(1).nullish(),
  alibi: flag,
  new_decoder_architecture: flag,
  tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof schema>;

export const falcon: Family = {
  modelType: "falcon",
  read(object, has): ModelSpec {
    const config = readConfig(schema, object), { hidden_size: hidden } = config;
    for (const name of ["alibi", "new_decoder_architecture"] as const) {
      if (config[name]) throw new ModelError(`config.json: ${name} is true, which is not supported`);
    }
    const root = has("word_embeddings.weight") ? "" : "transformer.";
    const embedding = `${root}word_embeddings`, block = blockSpec(config, root);
    return {
      hiddenSize: hidden,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: longestWindow(config),
      embedding: { tokens: `${embedding}.weight` },
      block: () => block,
      finalNorm: layerNormSpec(`${root}ln_f`, hidden, config.layer_norm_epsilon),
      head: linearSpec(headName(config.tie_word_embeddings, embedding, has), hidden, config.vocab_size),
    };
  },
};

function blockSpec(config: Config, root: string): BlockSpec {
  const { hidden_size: hidden, num_attention_heads: heads, layer_norm_epsilon: eps, activation } = config;
  const bias = config.bias ?? false;
  const { parallel_attn: isParallel, multi_query: hasOneKey } = config;
  const intermediate = config.ffn_hidden_size ?? 4 * hidden;
  const headDim = headDimension(hidden, heads), rotary = readRotary(config, headDim, false);
  const norm = layerNormSpec("input_layernorm", hidden, eps);
  const feedForwardNorm = layerNormSpec("post_attention_layernorm", hidden, eps);
  // Each row has the layout [heads + 2, headDim], with the key and the value last, or [heads, 3, headDim].
  const ld = hasOneKey ? hidden + 2 * headDim : 3 * hidden;
  const layout = hasOneKey
    ? { offsets: [0, hidden, hidden + headDim], headStride: headDim, kvHeads: 1 }
    : { offsets: [0, headDim, 2 * headDim], headStride: 3 * headDim, kvHeads: heads };
  const { offsets, headStride, kvHeads } = layout;
  const qkv: LinearGroup = [linearSpec("self_attention.query_key_value", hidden, ld, bias)];
  const out: LinearGroup = [linearSpec("self_attention.dense", hidden, hidden, bias)];
  const up: LinearGroup = [linearSpec("mlp.dense_h_to_4h", hidden, intermediate, bias)];
  const down: LinearGroup = [linearSpec("mlp.dense_4h_to_h", intermediate, hidden, bias)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: isParallel ? [norm] : [norm, feedForwardNorm],
    groups: [qkv, out, up, down],
    traits: { heads, kvHeads, headDim, intermediate, activation, rotary: () => rotary },
    forward(pass, x) {
      const input = normalize(pass, norm, x);
      const [buffer] = applyGroup(pass, qkv, input);
      const [q, k, v] = offsets.map((offset) => ({ buffer, offset, ld }));
      rotate(pass, rotary, q, heads, headStride);
      rotate(pass, rotary, k, kvHeads, headStride);
      accumulateGroup(pass, out, attend(pass, { q, k, v, heads, kvHeads, headDim, headStride }), x);
      const [inner] = applyGroup(
        pass,
        up,
        isParallel ? input : normalize(pass, feedForwardNorm, x),
        activation,
      );
      accumulateGroup(pass, down, inner, x);
    },
  };
}
