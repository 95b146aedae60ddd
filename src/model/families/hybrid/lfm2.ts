/** LFM2 (Liquid AI 2025), whose blocks have a short convolution, or attention with norms of queries and keys. */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import type { Architecture } from "../architecture.ts";
import { blockTypes, epsilon, flag, positiveInt, readLayerTypes } from "../config/config.ts";
import { firstTrait } from "../family.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import { shortConvolution } from "../llama/short_convolution.ts";

const shape = {
  ...llamaShape,
  num_key_value_heads: positiveInt.nullable().default(8),
  norm_eps: epsilon.default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
  /** The name of `tie_word_embeddings` in the published models. */
  tie_embedding: z.boolean().optional(),
  conv_bias: flag,
  conv_L_cache: positiveInt.default(3),
  layer_types: blockTypes(["conv", "full_attention"]),
};

type Config = z.infer<z.ZodObject<typeof shape>>;

/** Gives settings the names that they have in other families. */
function withCommonNames<C extends Config>(config: C): C {
  return {
    ...config,
    rms_norm_eps: config.norm_eps,
    tie_word_embeddings: config.tie_embedding ?? config.tie_word_embeddings,
    rope_theta: config.rope_theta ?? 1_000_000,
  };
}

const LAYERS = { gate: "w1", up: "w3", down: "w2" };

/** The names that differ from those of LLaMA. */
const NAMES = {
  "input_layernorm": "operator_norm",
  "post_attention_layernorm": "ffn_norm",
  "norm": "embedding_norm",
  "self_attn.o_proj": "self_attn.out_proj",
  "self_attn.q_norm": "self_attn.q_layernorm",
  "self_attn.k_norm": "self_attn.k_layernorm",
};

/** @param attends returns whether a block has attention, if config.json has no types of blocks */
function traitsOf(
  { conv_L_cache: taps, conv_bias, ...config }: Config,
  attends: (index: number) => boolean,
) {
  return {
    names: NAMES,
    queryKeyNorm: "heads",
    isLinear: readLayerTypes(config, (index) => !attends(index), "conv"),
    linearAttention: ({ hidden }) => shortConvolution(hidden, taps, conv_bias),
    network: { name: "feed_forward", layers: LAYERS, activation: "silu" },
  } as const satisfies LlamaTraits;
}

const GGUF: Architecture = {
  name: "lfm2",
  layers: {
    "operator_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up",
    "feed_forward.w2": "ffn_down",
  },
  vectors: { "conv.conv.weight": "shortconv.conv.weight" },
  finalNorm: "token_embd_norm",
  hasConvolutions: true,
  numbers: (spec) => ({ "shortconv.l_cache": firstTrait(spec, "taps") ?? 0 }),
  settings: { conv_bias: false },
};

export const lfm2 = llamaFamily(
  "lfm2",
  z.object({
    ...shape,
    intermediate_size: positiveInt.default(12288),
    /** The name of `intermediate_size` in the published models. */
    block_ff_dim: positiveInt.optional(),
    block_auto_adjust_ff_dim: z.boolean().default(true),
    block_ffn_dim_multiplier: z.number().positive().nullable().default(1),
    block_multiple_of: positiveInt.default(256),
    /** The blocks with attention in configurations without `layer_types`. By default all blocks have attention. */
    full_attn_idxs: stopAtFault(z.array(z.int())).nullish(),
  }).transform((config) => {
    const { block_ffn_dim_multiplier: factor, block_multiple_of: unit } = config;
    const given = config.block_ff_dim ?? config.intermediate_size, reduced = Math.floor(2 * given / 3);
    const adjusted = factor === null ? reduced : Math.ceil(Math.floor(factor * reduced) / unit) * unit;
    return {
      ...withCommonNames(config),
      intermediate_size: config.block_auto_adjust_ff_dim ? adjusted : given,
    };
  }),
  (config) => traitsOf(config, (index) => config.full_attn_idxs?.includes(index) ?? true),
  { gguf: GGUF },
);

/** LFM2 with a mixture of experts in all but its first blocks. */
export const lfm2Moe = llamaFamily(
  "lfm2_moe",
  z.object({
    ...shape,
    num_dense_layers: z.int().nonnegative().default(2),
    moe_intermediate_size: positiveInt.default(1792),
    num_experts: positiveInt.default(32),
    num_experts_per_tok: positiveInt.default(4),
    use_expert_bias: z.boolean().default(true),
    routed_scaling_factor: z.number().positive().default(1),
    norm_topk_prob: z.boolean().default(true),
  }).transform(withCommonNames),
  (config) => ({
    ...traitsOf(config, () => true),
    hasNoExperts: (index) => index < config.num_dense_layers,
    ...mixtureTraits(config, {
      name: "feed_forward",
      layers: LAYERS,
      experts: config.num_experts,
      scores: "sigmoid",
      scale: config.routed_scaling_factor,
      correction: config.use_expert_bias ? "expert_bias" : undefined,
    }),
  }),
  {
    experts: "all",
    gguf: {
      ...GGUF,
      name: "lfm2moe",
      layers: {
        ...GGUF.layers,
        "feed_forward.gate": "ffn_gate_inp",
        "feed_forward.experts.w1": "ffn_gate_exps",
        "feed_forward.experts.w3": "ffn_up_exps",
        "feed_forward.experts.w2": "ffn_down_exps",
      },
      vectors: { ...GGUF.vectors, "feed_forward.expert_bias": "exp_probs_b.bias" },
      mixture: { isNormalized: "described", denseBlocks: "first" },
      // llama.cpp divides the factors of experts by their sum, and does not scale them.
      settings: { conv_bias: false, norm_topk_prob: true, routed_scaling_factor: 1 },
    },
  },
);
