/**
 * The families derived from LLaMA whose blocks have one LayerNorm, after which attention and the feed-forward network
 * run in parallel. Names and arithmetic follow transformers' `Cohere2ForCausalLM` and `PhiForCausalLM`.
 */

import { z } from "zod";
import {
  activationName,
  configError,
  epsilon,
  layerTypesShape,
  positiveInt,
  readLayerTypes,
} from "./config/config.ts";
import { plainFeedForward } from "./llama/feed_forward.ts";
import { llamaFamily, llamaShape } from "./llama/llama_model.ts";

const parallelShape = { ...llamaShape, layer_norm_eps: epsilon.default(1e-5) };

/** Command R7B and Command A (Cohere, arXiv 2504.00698). Blocks without a sliding window do not rotate queries and keys. */
export const cohere2 = llamaFamily(
  "cohere2",
  z.object({
    ...parallelShape,
    ...layerTypesShape,
    attention_bias: z.boolean().default(false),
    logit_scale: z.number().positive().default(0.0625),
    sliding_window: positiveInt.nullable().default(4096),
    /** In configurations without `layer_types`, the last of every so many blocks has no window. */
    sliding_window_pattern: positiveInt.default(4),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rms_norm_eps: config.layer_norm_eps })),
  ({ attention_bias: bias, sliding_window: window, ...config }) => {
    const isSliding = readLayerTypes(config, (index) => (index + 1) % config.sliding_window_pattern !== 0);
    return {
      biases: { qkv: bias, out: bias },
      normPlacement: "shared",
      normKind: "layer",
      normBias: false,
      isInterleaved: true,
      window: (index) => isSliding(index) ? window ?? 0 : 0,
      hasRotary: (index) => window !== null && isSliding(index),
      logits: { scale: config.logit_scale },
    };
  },
);

/** Phi (Li et al., arXiv 2309.05463), versions 1 to 2, has biases in all linear layers, and rotates a part of each head. */
export const phi = llamaFamily(
  "phi",
  z.object({
    ...parallelShape,
    hidden_act: activationName.default("gelu_tanh"),
    qk_layernorm: z.boolean().default(false),
  }).transform((config) => ({
    ...config,
    rms_norm_eps: config.layer_norm_eps,
    partial_rotary_factor: config.partial_rotary_factor ?? 0.5,
  })),
  (config, has) => {
    if (config.tie_word_embeddings && !has("lm_head.weight")) {
      throw configError("tie_word_embeddings true is not supported for phi, whose head has a bias");
    }
    return {
      biases: { qkv: true, out: true, feedForward: true },
      normPlacement: "shared",
      normKind: "layer",
      queryKeyNorm: config.qk_layernorm ? "heads" : undefined,
      partialRotation: true,
      headBias: true,
      names: {
        "self_attn.o_proj": "self_attn.dense",
        "self_attn.q_norm": "self_attn.q_layernorm",
        "self_attn.k_norm": "self_attn.k_layernorm",
        norm: "final_layernorm",
      },
      feedForward: (sizes, activation) => plainFeedForward(sizes, activation, true, ["mlp.fc1", "mlp.fc2"]),
    };
  },
);
