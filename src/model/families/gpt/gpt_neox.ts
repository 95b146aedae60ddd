/**
 * The family GPT-NeoX (Black et al., arXiv 2204.06745), which includes Pythia. Attention and the feed-forward
 * network of a block read the same hidden states, and their outputs are added together. A part of each head
 * rotates. Names and arithmetic follow transformers' `GPTNeoXForCausalLM`.
 */

import { z } from "zod";
import { attend } from "../../pieces/attention.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { accumulateGroup } from "../../pieces/residual.ts";
import { rotate } from "../../pieces/rotary.ts";
import { GPT_BIASES, NORMS_BEFORE } from "../architecture.ts";
import { activationName, epsilon, headDimension, positiveInt, readConfig } from "../config/config.ts";
import { readRotary, rotaryShape } from "../config/rotary_config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family } from "../model_family.ts";
import { layerNormSpec, type LinearGroup, linearSpec } from "../../layer_specs.ts";

const ROOT = "gpt_neox.";

/** The share of the dimensions of a head that rotates, if the configuration does not say otherwise. */
const DEFAULT_ROTATED_SHARE = 0.25;

const schema = z.object({
  ...rotaryShape,
  hidden_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  intermediate_size: positiveInt,
  vocab_size: positiveInt,
  hidden_act: activationName.default("gelu"),
  layer_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(true),
  /** Whether the feed-forward network reads the hidden states before attention. Otherwise it reads those after attention. */
  use_parallel_residual: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
  /** The older names of `partial_rotary_factor` and `rope_theta`. */
  rotary_pct: z.number().positive().max(1).nullish(),
  rotary_emb_base: z.number().positive().nullish(),
});

type Config = z.infer<typeof schema>;

export const gptNeoX: Family = {
  modelType: "gpt_neox",
  gguf: {
    name: "gptneox",
    layers: {
      "attention.query_key_value": "attn_qkv",
      "attention.dense": "attn_output",
      "mlp.dense_h_to_4h": "ffn_up",
      "mlp.dense_4h_to_h": "ffn_down",
      ...NORMS_BEFORE,
    },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    rowOrder: "heads",
    hasPartialRotation: true,
    settings: { attention_bias: true, tie_word_embeddings: false },
    switches: ["use_parallel_residual"],
  },
  units: {
    neurons: {
      setting: "intermediate_size",
      reader: "mlp.dense_4h_to_h",
      writers: ["mlp.dense_h_to_4h"],
    },
  },
  read(object, has): ModelSpec {
    const config = readConfig(schema, object);
    const { hidden_size: hidden, layer_norm_eps: eps } = config;
    const embedding = `${ROOT}embed_in`;
    const head = has("lm_head.weight") ? "lm_head" : "embed_out";
    const block = blockSpec(config);
    return {
      hiddenSize: hidden,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: config.max_position_embeddings,
      embedding: { tokens: `${embedding}.weight` },
      block: () => block,
      finalNorm: layerNormSpec(`${ROOT}final_layer_norm`, hidden, eps),
      head: linearSpec(config.tie_word_embeddings ? embedding : head, hidden, config.vocab_size),
    };
  },
};

function blockSpec(config: Config): BlockSpec {
  const { hidden_size: hidden, intermediate_size: intermediate, num_attention_heads: heads } = config;
  const { layer_norm_eps: eps, attention_bias: attentionBias } = config;
  const headDim = headDimension(hidden, heads);
  const rotary = readRotary(
    {
      ...config,
      rope_theta: config.rotary_emb_base,
      partial_rotary_factor: config.rotary_pct ?? DEFAULT_ROTATED_SHARE,
    },
    headDim,
    true,
  );
  const attentionNorm = layerNormSpec("input_layernorm", hidden, eps);
  const feedForwardNorm = layerNormSpec("post_attention_layernorm", hidden, eps);
  const qkv: LinearGroup = [linearSpec("attention.query_key_value", hidden, 3 * hidden, attentionBias)];
  const out: LinearGroup = [linearSpec("attention.dense", hidden, hidden, attentionBias)];
  const up: LinearGroup = [linearSpec("mlp.dense_h_to_4h", hidden, intermediate, true)];
  const down: LinearGroup = [linearSpec("mlp.dense_4h_to_h", intermediate, hidden, true)];
  return {
    prefix: (block) => `${ROOT}layers.${block}.`,
    norms: [attentionNorm, feedForwardNorm],
    groups: [qkv, out, up, down],
    traits: {
      heads,
      kvHeads: heads,
      headDim,
      intermediate,
      activation: config.hidden_act,
      rotary: () => rotary,
    },
    forward(pass, x) {
      const [buffer] = applyGroup(pass, qkv, normalize(pass, attentionNorm, x));
      // Each row of the buffer has the layout [heads, 3, headDim].
      const [q, k, v] = [0, 1, 2].map((part) => ({ buffer, offset: part * headDim, ld: 3 * hidden }));
      for (const part of [q, k]) rotate(pass, rotary, part, heads, 3 * headDim);
      const attended = attend(pass, { q, k, v, heads, headDim, headStride: 3 * headDim });
      // A parallel feed-forward network must read the hidden states before attention changes them.
      const parallelInput = config.use_parallel_residual ? normalize(pass, feedForwardNorm, x) : undefined;
      accumulateGroup(pass, out, attended, x);
      const input = parallelInput ?? normalize(pass, feedForwardNorm, x);
      const [inner] = applyGroup(pass, up, input, config.hidden_act);
      accumulateGroup(pass, down, inner, x);
    },
  };
}
