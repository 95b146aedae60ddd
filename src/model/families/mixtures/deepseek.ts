/**
 * DeepSeek and the families with its mixture of experts: shared experts, first blocks without experts, and experts in
 * groups. Each follows the class of transformers that its config.json belongs to, and so do the defaults of its settings.
 */

import { z } from "zod";
import {
  type Architecture,
  ATTENTION,
  EXPERTS,
  GATED,
  gatedNames,
  HEAD_NORMS,
  NORMS_BEFORE,
  QKV_BIASES,
  RENAMED_NORMS,
} from "../architecture.ts";
import { checkHeadDimension, configError, epsilon, flag, positiveInt } from "../config/config.ts";
import { attentionMscale, readRotary } from "../config/rotary_config.ts";
import type { ExpertsSpec } from "../llama/experts.ts";
import { latentAttention } from "../llama/latent_attention.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import type { Family } from "../model_family.ts";

/** The settings of the mixture. */
const mixtureShape = {
  moe_intermediate_size: positiveInt,
  n_routed_experts: positiveInt,
  n_shared_experts: positiveInt,
  num_experts_per_tok: positiveInt,
  routed_scaling_factor: z.number().positive(),
  n_group: positiveInt.nullish(),
  topk_group: positiveInt.nullish(),
  norm_topk_prob: z.boolean(),
  /** The number of blocks before the first block with experts. */
  first_k_dense_replace: z.int().nonnegative(),
  /** Only every so many of the later blocks have experts. transformers does not read this setting. */
  moe_layer_freq: z.literal(1).nullish(),
  /** The number of blocks after the last one, which predict further tokens. */
  num_nextn_predict_layers: z.int().nonnegative().nullish(),
  /** Another name of this number. */
  num_mtp_layers: z.int().nonnegative().nullish(),
};

type MixtureConfig = z.infer<z.ZodObject<typeof mixtureShape>>;
type GroupsConfig = Pick<MixtureConfig, "n_group" | "topk_group">;

/** Returns the traits of the mixture. @param rule how tokens choose experts, apart from the settings that all families have */
function mixtureOf(
  config: MixtureConfig,
  { sharedBias = false, ...rule }: Partial<ExpertsSpec> & { readonly sharedBias?: boolean },
): Pick<LlamaTraits, "experts" | "hasNoExperts" | "furtherBlocks"> {
  return {
    hasNoExperts: (index) => index < config.first_k_dense_replace,
    furtherBlocks: config.num_nextn_predict_layers ?? config.num_mtp_layers ?? 0,
    ...mixtureTraits(config, {
      experts: config.n_routed_experts,
      scale: config.routed_scaling_factor,
      shared: {
        name: "mlp.shared_experts",
        intermediate: config.n_shared_experts * config.moe_intermediate_size,
        bias: sharedBias,
      },
      ...rule,
    }),
  };
}

/** Returns the groups of experts. @param summed as in `ExpertGroups` */
function groupsOf(
  { n_group: count, topk_group: perToken }: GroupsConfig,
  summed: number,
): ExpertsSpec["groups"] {
  return { count: count ?? 1, perToken: perToken ?? 1, summed };
}

/** The rule of DeepSeek-V3, in which corrections of the scores balance the load of the experts. */
export function correctedRule(config: GroupsConfig): Partial<ExpertsSpec> {
  return { scores: "sigmoid", correction: "gate.e_score_correction_bias", groups: groupsOf(config, 2) };
}

/** The settings of latent attention. */
const latentShape = {
  kv_lora_rank: positiveInt.default(512),
  q_lora_rank: positiveInt.nullable().default(1536),
  qk_nope_head_dim: positiveInt.default(128),
  qk_rope_head_dim: positiveInt.default(64),
  v_head_dim: positiveInt.default(128),
  attention_bias: flag,
};

const latentConfig = z.object({ ...llamaShape, ...latentShape });
type LatentConfig = z.infer<typeof latentConfig>;

/** Gives heads the dimensions of queries and keys. `head_dim` in config.json has only those that rotate. */
function withQueryDimensions<Config extends LatentConfig>(config: Config): Config {
  return { ...config, head_dim: config.qk_nope_head_dim + config.qk_rope_head_dim };
}

function latentTraits(
  config: LatentConfig,
  isInterleaved: boolean,
): Pick<LlamaTraits, "attention" | "rotary" | "scale"> {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, v_head_dim: value } = config;
  const fixed = config.qk_nope_head_dim, rotating = config.qk_rope_head_dim;
  if ((kvHeads ?? heads) !== heads) {
    throw configError(
      `num_key_value_heads ${kvHeads} is not supported, must be num_attention_heads ${heads}`,
    );
  }
  if (value > checkHeadDimension(fixed + rotating)) {
    throw configError(
      `v_head_dim ${value} is not supported, must be at most ${fixed + rotating}, the dimensions of a key`,
    );
  }
  const rotary = { ...readRotary(config, rotating, false), isInterleaved };
  return {
    scale: attentionMscale(config) ** 2 / Math.sqrt(fixed + rotating),
    // The layers of attention rotate a part of each head.
    rotary: () => undefined,
    attention: ({ hidden }) =>
      latentAttention(
        {
          hidden,
          heads,
          queryRank: config.q_lora_rank ?? undefined,
          rank: config.kv_lora_rank,
          fixed,
          rotating,
          value,
          rotary,
        },
        config.attention_bias,
      ),
  };
}

/** The names in GGUF of the networks of DeepSeek and GLM-4.5. */
const DEEPSEEK_NETWORKS = { ...GATED, ...EXPERTS, ...gatedNames("mlp.shared_experts", "_shexp") };
const DEEPSEEK_VECTORS = { "mlp.gate.e_score_correction_bias": "exp_probs_b.bias" };
const DEEPSEEK_MIXTURE = { isNormalized: "described", sharedSize: "multiple", denseBlocks: "first" } as const;

const GGUF: Architecture = {
  name: "deepseek2",
  layers: {
    ...NORMS_BEFORE,
    ...DEEPSEEK_NETWORKS,
    "self_attn.q_proj": "attn_q",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.o_proj": "attn_output",
  },
  vectors: DEEPSEEK_VECTORS,
  hasPartialRotation: true,
  mixture: DEEPSEEK_MIXTURE,
  // The settings of YaRN have the factor of scores.
  factors: ({ attentionScale }, spec) => spec.block(0).traits.latent?.rotary.yarn ? { attentionScale } : {},
  unsupported: (spec) =>
    spec.block(0).traits.latent?.rotary.isInterleaved ? undefined : "rope_interleave false",
};

/** DeepSeek-V2 (arXiv 2405.04434). */
export const deepseekV2 = llamaFamily(
  "deepseek_v2",
  z.object({
    ...llamaShape,
    ...latentShape,
    ...mixtureShape,
    mlp_bias: flag,
    moe_intermediate_size: positiveInt.default(1407),
    n_routed_experts: positiveInt.default(64),
    n_shared_experts: positiveInt.default(2),
    routed_scaling_factor: z.number().positive().default(1),
    topk_method: z.enum(["greedy", "group_limited_greedy"]).default("greedy"),
    /** transformers does not divide factors by their sum, even if the setting is true. */
    norm_topk_prob: z.literal(false).default(false),
    first_k_dense_replace: z.int().nonnegative().default(0),
  }).transform(withQueryDimensions),
  (config) => ({
    network: { bias: config.mlp_bias },
    ...latentTraits(config, true),
    ...mixtureOf(config, {
      groups: config.topk_method === "greedy" ? undefined : groupsOf(config, 1),
      sharedBias: config.mlp_bias,
    }),
  }),
  {
    experts: "all",
    gguf: GGUF,
  },
);

/** DeepSeek-V3 (arXiv 2412.19437). */
export const deepseekV3 = llamaFamily(
  "deepseek_v3",
  z.object({
    ...llamaShape,
    ...latentShape,
    ...mixtureShape,
    num_mtp_layers: z.int().nonnegative().nullable().default(1),
    rope_interleave: z.boolean().nullable().default(true),
    moe_intermediate_size: positiveInt.default(2048),
    n_routed_experts: positiveInt.default(256),
    n_shared_experts: positiveInt.default(1),
    num_experts_per_tok: positiveInt.default(8),
    routed_scaling_factor: z.number().positive().default(2.5),
    n_group: positiveInt.nullable().default(8),
    topk_group: positiveInt.nullable().default(4),
    topk_method: z.literal("noaux_tc").optional(),
    scoring_func: z.literal("sigmoid").optional(),
    norm_topk_prob: z.boolean().default(true),
    first_k_dense_replace: z.int().nonnegative().default(3),
  }).transform(withQueryDimensions),
  (config) => ({
    ...latentTraits(config, config.rope_interleave ?? false),
    ...mixtureOf(config, correctedRule(config)),
  }),
  {
    experts: "all",
    gguf: GGUF,
  },
);

/** Kimi K2 (arXiv 2507.20534) is a DeepSeek-V3 of other sizes. Its `model_type` has the class of DeepSeek-V3. */
export const kimiK2: Family = { ...deepseekV3, modelType: "kimi_k2" };

/** GLM-4.5 (arXiv 2508.06471) has the mixture of DeepSeek-V3, and attention with norms of queries and keys on request. */
export const glm4Moe = llamaFamily(
  "glm4_moe",
  z.object({
    ...llamaShape,
    ...mixtureShape,
    num_mtp_layers: z.int().nonnegative().nullable().default(1),
    num_key_value_heads: positiveInt.default(8),
    rms_norm_eps: epsilon.default(1e-5),
    attention_bias: flag,
    use_qk_norm: flag,
    partial_rotary_factor: z.number().positive().max(1).default(0.5),
    moe_intermediate_size: positiveInt.default(1408),
    n_routed_experts: positiveInt.default(128),
    n_shared_experts: positiveInt.default(1),
    num_experts_per_tok: positiveInt.default(8),
    routed_scaling_factor: z.number().positive().default(1),
    norm_topk_prob: z.boolean().default(true),
    first_k_dense_replace: z.int().nonnegative().default(1),
  }),
  (config) => ({
    biases: { qkv: config.attention_bias },
    queryKeyNorm: config.use_qk_norm ? "heads" : undefined,
    partialRotation: true,
    ...mixtureOf(config, correctedRule(config)),
  }),
  {
    experts: "all",
    gguf: {
      name: "glm4moe",
      layers: { ...ATTENTION, ...RENAMED_NORMS, ...HEAD_NORMS, ...DEEPSEEK_NETWORKS },
      vectors: DEEPSEEK_VECTORS,
      biases: QKV_BIASES,
      hasPartialRotation: true,
      mixture: DEEPSEEK_MIXTURE,
    },
  },
);
