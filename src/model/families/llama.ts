/**
 * LLaMA and the families whose block differs from LLaMA's in a few traits. Each follows the class of transformers
 * that its config.json belongs to, and the defaults of its settings are those of that class's configuration.
 */

import { z } from "zod";
import {
  activationName,
  epsilon,
  layerTypesShape,
  noRopeShape,
  positiveInt,
  readLayerTypes,
  readRotatingBlocks,
  readWindow,
} from "./config/config.ts";
import { fusedFeedForward, plainFeedForward } from "./llama/feed_forward.ts";
import { ropeObject } from "./config/rotary_config.ts";
import { llamaFamily, llamaShape } from "./llama/llama_model.ts";
import type { LlamaTraits } from "./llama/llama_traits.ts";

const flag = z.boolean().default(false);

/** LLaMA (Touvron et al., arXiv 2302.13971), versions 1 to 3. */
export const llama = llamaFamily(
  "llama",
  z.object({ ...llamaShape, attention_bias: flag, mlp_bias: flag }),
  ({ attention_bias: attention, mlp_bias: feedForward }) => ({
    biases: { qkv: attention, out: attention, feedForward },
  }),
);

/** Mistral (Jiang et al., arXiv 2310.06825) has a sliding attention window. */
export const mistral = llamaFamily(
  "mistral",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    sliding_window: positiveInt.nullable().default(4096),
  }),
  (config) => ({ window: () => config.sliding_window ?? 0 }),
);

/** The rotation of Ministral 3 in configurations that have no settings of it. */
const MINISTRAL_ROPE = {
  rope_type: "yarn",
  rope_theta: 1_000_000,
  factor: 16,
  original_max_position_embeddings: 16_384,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
};

/** Ministral 3 (Mistral AI 2025) has heads of a fixed size, YaRN, and queries that are larger at positions past the trained length. */
export const ministral3 = llamaFamily(
  "ministral3",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    head_dim: positiveInt.nullable().default(128),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    rope_parameters: ropeObject.extend({ llama_4_scaling_beta: z.number().nonnegative().default(0) })
      .nullish()
      .transform((rope) => rope ?? MINISTRAL_ROPE),
  }),
  ({ sliding_window: window, rope_parameters: rope, max_position_embeddings }) => {
    const { llama_4_scaling_beta: beta } = rope;
    const trainedTokens = rope.original_max_position_embeddings ?? max_position_embeddings;
    return {
      window: () => window ?? 0,
      queryScale: () =>
        beta === 0 ? undefined : (position) => 1 + beta * Math.log(1 + Math.floor(position / trainedTokens)),
    };
  },
);

const qwenShape = {
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positiveInt.nullable().default(32),
  use_sliding_window: flag,
  sliding_window: positiveInt.nullable().default(4096),
  /** The number of blocks before the first block with a sliding window, unless `layer_types` decides for each block. */
  max_window_layers: z.int().nonnegative().default(28),
};

/** Qwen2 (arXiv 2407.10671) has biases for q, k and v. Some of its blocks may have a sliding attention window. */
export const qwen2 = llamaFamily(
  "qwen2",
  z.object(qwenShape),
  (config) => ({
    biases: { qkv: true },
    window: readWindow(config, (index) => index >= config.max_window_layers),
  }),
);

/** Qwen3 (arXiv 2505.09388) has norms for the heads of q and k, and the windows of Qwen2. */
export const qwen3 = llamaFamily(
  "qwen3",
  z.object({ ...qwenShape, head_dim: positiveInt.nullable().default(128), attention_bias: flag }),
  (config) => ({
    biases: { qkv: config.attention_bias, out: config.attention_bias },
    queryKeyNorm: "heads",
    window: readWindow(config, (index) => index >= config.max_window_layers),
  }),
);

/** Phi-3 (Abdin et al., arXiv 2404.14219) has one fused linear layer for q, k and v, and one for gate and up. */
export const phi3 = llamaFamily(
  "phi3",
  z.object({
    ...llamaShape,
    rms_norm_eps: epsilon.default(1e-5),
    original_max_position_embeddings: positiveInt.default(4096),
    sliding_window: positiveInt.nullish(),
  }),
  (config) => ({ fused: true, partialRotation: true, window: () => config.sliding_window ?? 0 }),
);

/** Seed-OSS (ByteDance 2025) has heads of a fixed size, and biases for q, k and v. */
export const seedOss = llamaFamily(
  "seed_oss",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    head_dim: positiveInt.nullable().default(128),
    attention_bias: z.boolean().default(true),
    attention_out_bias: flag,
    mlp_bias: flag,
  }),
  ({ attention_bias: qkv, attention_out_bias: out, mlp_bias: feedForward }) => ({
    biases: { qkv, out, feedForward },
  }),
);

/** ERNIE 4.5 (Baidu 2025) rotates neighbouring dimensions. */
export const ernie45 = llamaFamily(
  "ernie4_5",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    head_dim: positiveInt.nullable().default(128),
    rms_norm_eps: epsilon.default(1e-5),
    use_bias: flag.nullable(),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 500_000 })),
  ({ use_bias }) => {
    const bias = use_bias ?? false;
    return { biases: { qkv: bias, out: bias, feedForward: bias }, isInterleaved: true };
  },
);

/** GLM-4 (arXiv 2406.12793), as of 2025, has norms before and after each half, and rotates neighbouring dimensions of a part of each head. */
export const glm4 = llamaFamily(
  "glm4",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    head_dim: positiveInt.nullable().default(128),
    rms_norm_eps: epsilon.default(1.5625e-7),
    attention_bias: z.boolean().default(true),
  }).transform((config) => ({ ...config, partial_rotary_factor: config.partial_rotary_factor ?? 0.5 })),
  ({ attention_bias: bias }) => ({
    biases: { qkv: bias },
    feedForward: fusedFeedForward,
    normPlacement: "around",
    names: {
      post_attention_layernorm: "post_self_attn_layernorm",
      pre_feedforward_layernorm: "post_attention_layernorm",
      post_feedforward_layernorm: "post_mlp_layernorm",
    },
    partialRotation: true,
    isInterleaved: true,
  }),
);

/**
 * EXAONE 4 (arXiv 2507.11407) has norms after each half, and of the heads of q and k. If some blocks have a sliding window, the others do not
 * rotate queries and keys.
 */
export const exaone4 = llamaFamily(
  "exaone4",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    num_key_value_heads: positiveInt.nullable().default(32),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullable().default(4096),
    /** In configurations without `layer_types`, the last of every so many blocks has no window. LLLG, with a G for it, means 4. */
    sliding_window_pattern: z.union([
      z.int().nonnegative(),
      z.string().regex(/^L+G$/).transform(({ length }) => length),
    ]).nullable().default(4),
  }),
  ({ sliding_window: window, sliding_window_pattern: pattern, ...config }) => {
    const isSliding = readLayerTypes(config, (index) => Boolean(pattern) && (index + 1) % pattern! !== 0);
    return {
      normPlacement: "after",
      queryKeyNorm: "heads",
      window: (index) => isSliding(index) ? window ?? 0 : 0,
      hasRotary: (index) => window === null || isSliding(index),
    };
  },
);

/** The settings of all Granites. */
export const graniteShape = {
  ...llamaShape,
  attention_bias: flag,
  mlp_bias: flag,
  embedding_multiplier: z.number().default(1),
  attention_multiplier: z.number().default(1),
  residual_multiplier: z.number().default(1),
  logits_scaling: z.number().positive().default(1),
};

/** Returns the traits of all Granites. */
export function graniteTraits(
  { attention_bias: attention, mlp_bias: feedForward, ...config }: z.infer<z.ZodObject<typeof graniteShape>>,
): LlamaTraits {
  return {
    biases: { qkv: attention, out: attention, feedForward },
    embeddingScale: config.embedding_multiplier,
    attentionScale: config.attention_multiplier,
    residualScale: config.residual_multiplier,
    logits: { scale: 1 / config.logits_scaling },
  };
}

/** Granite (IBM 2024) has factors for the embedding, the attention scores, the outputs of each half, and the logits. */
export const granite = llamaFamily("granite", z.object(graniteShape), graniteTraits);

/** StarCoder2 (Lozhkov et al., arXiv 2402.19173) has LayerNorms, biases, a sliding window, and a feed-forward network without a gate. */
export const starcoder2 = llamaFamily(
  "starcoder2",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    hidden_act: activationName.default("gelu_tanh"),
    norm_epsilon: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    use_bias: z.boolean().default(true),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rms_norm_eps: config.norm_epsilon })),
  ({ use_bias: bias, sliding_window: window }) => ({
    biases: { qkv: bias, out: bias },
    normKind: "layer",
    window: () => window ?? 0,
    feedForward: (sizes, activation) => plainFeedForward(sizes, activation, bias, ["mlp.c_fc", "mlp.c_proj"]),
  }),
);

/** SmolLM3 (Hugging Face 2025) does not rotate queries and keys in some blocks. */
export const smolLm3 = llamaFamily(
  "smollm3",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    ...noRopeShape,
    num_key_value_heads: positiveInt.nullable().default(4),
    attention_bias: flag,
    mlp_bias: flag,
    use_sliding_window: flag,
    sliding_window: positiveInt.nullish(),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 2_000_000 })),
  ({ attention_bias: attention, mlp_bias: feedForward, ...config }) => {
    const hasRotary = readRotatingBlocks(config);
    return {
      biases: { qkv: attention, out: attention, feedForward },
      window: readWindow(config, (index) => !hasRotary(index)),
      hasRotary,
    };
  },
);
