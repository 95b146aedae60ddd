/**
 * gpt-oss (arXiv 2508.10925): LLaMA's block with sinks in attention, biases, sliding windows in some blocks, and a mixture of experts with
 * a limited gate. Names and defaults follow transformers' `GptOssForCausalLM`.
 */

import { z } from "zod";
import { ATTENTION, EXPERTS, GATE_AND_UP, QKV_BIASES, RENAMED_NORMS } from "../architecture.ts";
import { epsilon, layerTypesShape, positiveInt, readWindow } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

/** The rotation of configurations that have no settings of it. */
const DEFAULT_ROPE = {
  rope_type: "yarn",
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

export const gptOss = llamaFamily(
  "gpt_oss",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    head_dim: positiveInt.default(64),
    rms_norm_eps: epsilon.default(1e-5),
    attention_bias: z.boolean().default(true),
    sliding_window: positiveInt.nullable().default(128),
    num_local_experts: positiveInt.optional(),
    /** Another name of `num_local_experts`. */
    num_experts: positiveInt.default(128),
    num_experts_per_tok: positiveInt.default(4),
    swiglu_alpha: z.number().default(1.702),
    swiglu_limit: z.number().positive().default(7),
  }).transform((config) => ({
    ...config,
    num_local_experts: config.num_local_experts ?? config.num_experts,
    rope_theta: config.rope_theta ?? 150_000,
    rope_parameters: config.rope_parameters ?? DEFAULT_ROPE,
  })),
  ({ attention_bias: bias, ...config }) => ({
    biases: { qkv: bias, out: bias },
    window: readWindow(config, (index) => index % 2 === 0),
    hasSinks: true,
    ...mixtureTraits(config, {
      experts: config.num_local_experts,
      router: "router",
      layers: { gate: "gate_up_proj", down: "down_proj" },
      hasBiases: true,
      isTransposed: true,
      clampedGate: { alpha: config.swiglu_alpha, limit: config.swiglu_limit },
    }),
  }),
  {
    experts: "all",
    gguf: {
      name: "gpt-oss",
      layers: { ...ATTENTION, ...RENAMED_NORMS, ...EXPERTS, "mlp.router": "ffn_gate_inp" },
      vectors: { "self_attn.sinks": "attn_sinks.weight" },
      biases: [
        ...[...QKV_BIASES, "attn_output"],
        ...["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"],
      ],
      windowPeriod: 2,
      allowsUnroundedYarn: true,
      splitLayers: { "mlp.experts.gate_up_proj": { places: GATE_AND_UP, rows: "alternate" } },
      mixture: { isNormalized: true },
      settings: {
        attention_bias: true,
        swiglu_alpha: 1.702,
        swiglu_limit: 7,
        tie_word_embeddings: false,
      },
    },
  },
);
