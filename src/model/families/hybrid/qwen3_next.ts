/**
 * Qwen3-Next and Qwen3.5 (Qwen 2025 and 2026), whose blocks have linear attention (Gated DeltaNet), or attention with a gate of its
 * outputs. The defaults are those of transformers.
 */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import { MAX_KEY_DIM, MAX_VALUE_DIM } from "../../../device/kernels/forward/linear_attention.ts";
import { type Architecture, ATTENTION, GATED, HEAD_NORMS, RENAMED_NORMS } from "../architecture.ts";
import { checkHeadDimension, configError, positiveInt, readLayerTypes } from "../config/config.ts";
import { gatedQkv } from "../llama/attention_layers.ts";
import { gatedDeltaNet } from "../llama/gated_delta_net.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { QWEN_EXPERTS, qwenDenseShape, qwenHasNoExperts, qwenSharedExperts } from "../mixtures/qwen_moe.ts";

const shape = {
  ...llamaShape,
  num_key_value_heads: positiveInt.nullable().default(2),
  head_dim: positiveInt.nullable().default(256),
  attention_bias: z.boolean().default(false),
  layer_types: stopAtFault(z.array(z.enum(["linear_attention", "full_attention"]))).nullish(),
  /** In configurations without `layer_types`, the last of every so many blocks has attention. */
  full_attention_interval: positiveInt.default(4),
  linear_conv_kernel_dim: positiveInt.default(4),
  linear_key_head_dim: positiveInt.default(128),
  linear_value_head_dim: positiveInt.default(128),
  linear_num_key_heads: positiveInt.default(16),
  linear_num_value_heads: positiveInt.default(32),
};

type Config = z.infer<z.ZodObject<typeof shape>>;

/** A quarter of each head rotates by default. */
function withPartialRotation<C extends Config>(config: C): C {
  return { ...config, partial_rotary_factor: config.partial_rotary_factor ?? 0.25 };
}

/** @throws {ModelError} if heads of linear attention have more dimensions than the kernel supports, or cannot share the key heads equally */
function traitsOf(config: Config, isFused: boolean): LlamaTraits {
  const { attention_bias: bias, full_attention_interval: interval } = config;
  const { linear_num_key_heads: keyHeads, linear_num_value_heads: heads } = config;
  const keyDim = checkHeadDimension(config.linear_key_head_dim, MAX_KEY_DIM);
  const valueDim = checkHeadDimension(config.linear_value_head_dim, MAX_VALUE_DIM);
  if (heads % keyHeads !== 0) {
    throw configError(
      `linear_num_value_heads ${heads} is not a multiple of linear_num_key_heads ${keyHeads}`,
    );
  }
  const sizes = { heads, keyHeads, keyDim, valueDim, taps: config.linear_conv_kernel_dim };
  return {
    queryKeyNorm: "heads",
    norm: { weightOffset: 1 },
    partialRotation: true,
    attention: (sizes) => gatedQkv(sizes, { qkv: bias, out: bias }),
    isLinear: readLayerTypes(config, (index) => (index + 1) % interval !== 0, "linear_attention"),
    linearAttention: ({ hidden }) =>
      gatedDeltaNet(
        { ...sizes, hidden, activation: config.hidden_act, eps: config.rms_norm_eps },
        isFused,
      ),
  };
}

/** The parts in llama.cpp that Qwen3-Next and Qwen3.5 share. */
const LINEAR = {
  layers: {
    ...ATTENTION,
    ...RENAMED_NORMS,
    ...HEAD_NORMS,
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
  },
  vectors: {
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
  },
  hasPartialRotation: true,
  hasLinearBlocks: true,
  // llama.cpp also takes the epsilon of the norms for the lengths of queries and keys in linear attention, which is 1e-6 in the model.
  settings: { rms_norm_eps: 1e-6 },
} as const;

/** Qwen3-Next has a mixture of experts in most blocks. */
export const qwen3Next = llamaFamily(
  "qwen3_next",
  z.object({
    ...shape,
    ...qwenDenseShape,
    moe_intermediate_size: positiveInt.default(512),
    shared_expert_intermediate_size: positiveInt.default(512),
    num_experts: positiveInt.default(512),
    num_experts_per_tok: positiveInt.default(10),
    norm_topk_prob: z.boolean().default(true),
  }).transform(withPartialRotation),
  (config) => ({
    ...traitsOf(config, true),
    hasNoExperts: qwenHasNoExperts(config),
    ...qwenSharedExperts(config),
  }),
  {
    experts: "all",
    gguf: {
      ...LINEAR,
      name: "qwen3next",
      layers: {
        ...LINEAR.layers,
        ...QWEN_EXPERTS,
        "linear_attn.in_proj_qkvz": "ssm_in",
        "linear_attn.in_proj_ba": "ssm_ba",
      },
      mixture: { isNormalized: true, sharedSize: "length" },
    },
  },
);

const QWEN35: Architecture = {
  ...LINEAR,
  name: "qwen35",
  layers: {
    ...LINEAR.layers,
    ...GATED,
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha",
  },
  rowOrder: "tiled",
  hasRotarySections: true,
};

/** The text part of Qwen3.5. */
export const qwen35 = llamaFamily(
  "qwen3_5_text",
  z.object({ ...shape, num_key_value_heads: positiveInt.nullable().default(4) }).transform(
    withPartialRotation,
  ),
  (config) => traitsOf(config, false),
  {
    gguf: QWEN35,
    textParts: { qwen3_5: {} },
  },
);

/** The text part of Qwen3.5 with a mixture of experts in every block. */
export const qwen35Moe = llamaFamily(
  "qwen3_5_moe_text",
  z.object({
    ...shape,
    /** Of networks without experts, which no block has. */
    intermediate_size: positiveInt.default(1),
    moe_intermediate_size: positiveInt.default(512),
    shared_expert_intermediate_size: positiveInt.default(512),
    num_experts: positiveInt.default(256),
    num_experts_per_tok: positiveInt.default(8),
  }).transform(withPartialRotation),
  (config) => ({
    ...traitsOf(config, false),
    ...qwenSharedExperts(config),
  }),
  {
    experts: "all",
    gguf: {
      ...QWEN35,
      name: "qwen35moe",
      layers: { ...QWEN35.layers, ...QWEN_EXPERTS },
      mixture: { isNormalized: true, sharedSize: "length" },
    },
    textParts: { qwen3_5_moe: {} },
  },
);
