/**
 * MiniMax-M2 (MiniMax 2025) has Mixtral's names, norms of queries and keys over all heads of a token, a rotation of a part of each head, and
 * DeepSeek-V3's corrections of scores.
 */

import { z } from "zod";
import { ATTENTION, HEAD_NORMS, NORMS_BEFORE } from "../architecture.ts";
import { positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

export const miniMaxM2 = llamaFamily(
  "minimax_m2",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.default(8),
    head_dim: positiveInt.default(128),
    /** The older form of `partial_rotary_factor`, in dimensions. */
    rotary_dim: positiveInt.nullish(),
    num_local_experts: positiveInt.default(256),
    num_experts_per_tok: positiveInt.default(8),
  }).transform((config) => ({
    ...config,
    rope_theta: config.rope_theta ?? 5_000_000,
    partial_rotary_factor: config.partial_rotary_factor ??
      (config.rotary_dim ? config.rotary_dim / config.head_dim : undefined),
  })),
  (config) => ({
    queryKeyNorm: "rows",
    partialRotation: true,
    ...mixtureTraits(config, {
      name: "block_sparse_moe",
      layers: { gate: "w1", up: "w3", down: "w2" },
      experts: config.num_local_experts,
      scores: "sigmoid",
      correction: "e_score_correction_bias",
    }),
  }),
  {
    experts: "all",
    gguf: {
      name: "minimax-m2",
      layers: {
        ...{ ...ATTENTION, ...NORMS_BEFORE, ...HEAD_NORMS },
        "block_sparse_moe.gate": "ffn_gate_inp",
        "block_sparse_moe.experts.w1": "ffn_gate_exps",
        "block_sparse_moe.experts.w3": "ffn_up_exps",
        "block_sparse_moe.experts.w2": "ffn_down_exps",
      },
      vectors: { "block_sparse_moe.e_score_correction_bias": "exp_probs_b.bias" },
      hasPartialRotation: true,
      mixture: { isNormalized: "described" },
    },
  },
);
