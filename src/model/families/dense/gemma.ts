/**
 * The families Gemma, Gemma 2 and Gemma 3, which share most traits. Names and arithmetic follow transformers'
 * `GemmaForCausalLM`, `Gemma2ForCausalLM` and `Gemma3ForCausalLM`.
 */

import { z } from "zod";
import { ATTENTION, type Factors, GATED, HEAD_NORMS, LLAMA_LAYERS } from "../architecture.ts";
import {
  activationName,
  configError,
  layerTypesShape,
  positiveInt,
  readConfig,
  readLayerTypes,
} from "../config/config.ts";
import { readTwoRotations, twoRotationsShape } from "../config/rotary_config.ts";
import type { ModelSpec } from "../family.ts";
import { llamaFamily, llamaModel, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import type { Family } from "../model_family.ts";
import { GATED_NEURONS } from "../units.ts";

/** The common settings, with the defaults of the configuration classes in transformers. */
const commonShape = {
  ...llamaShape,
  head_dim: positiveInt.default(256),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  use_bidirectional_attention: z.boolean().nullish(),
};

type CommonConfig = Pick<
  z.infer<z.ZodObject<typeof commonShape>>,
  "hidden_size" | "attention_bias" | "use_bidirectional_attention"
>;

/** Returns the common traits. @throws {ModelError} if attention is not causal */
function commonTraits(
  { attention_bias: bias, use_bidirectional_attention, hidden_size }: CommonConfig,
): LlamaTraits {
  if (use_bidirectional_attention) {
    throw configError("use_bidirectional_attention is true, which is not supported");
  }
  return {
    biases: { qkv: bias, out: bias },
    norm: { weightOffset: 1 },
    embedding: { scale: Math.sqrt(hidden_size) },
  };
}

/** The layers and norms in GGUF of a block of Gemma 2. */
export const GEMMA_LAYERS = {
  ...ATTENTION,
  ...GATED,
  "input_layernorm": "attn_norm",
  "post_attention_layernorm": "post_attention_norm",
  "pre_feedforward_layernorm": "ffn_norm",
  "post_feedforward_layernorm": "post_ffw_norm",
};

/**
 * Returns the factors of Gemma 2 and 3 in llama.cpp, which recognises the model with 27 billion parameters by its number of
 * blocks, `largest`. This model has another scale.
 */
function gemmaFactors({ hiddenSize, blockCount, block }: ModelSpec, largest: number): Partial<Factors> {
  const { heads, headDim } = block(0).traits;
  return {
    attentionScale: (blockCount === largest ? hiddenSize / heads : headDim) ** -0.5,
    embeddingScale: Math.sqrt(hiddenSize),
  };
}

/** Gemma (arXiv 2403.08295): LLaMA's block with a scaled embedding, and with norms whose weights are stored minus 1. */
export const gemma = llamaFamily(
  "gemma",
  z.object({
    ...commonShape,
    num_key_value_heads: positiveInt.nullable().default(16),
    // The published checkpoints say `gelu`, but were trained with the approximation.
    hidden_act: activationName.default("gelu_tanh")
      .transform((activation) => activation === "gelu" ? "gelu_tanh" : activation),
    max_position_embeddings: positiveInt.default(8192),
  }),
  commonTraits,
  {
    gguf: {
      name: "gemma",
      layers: LLAMA_LAYERS,
      activation: "gelu_tanh",
      sharesHead: true,
      factors: (_, { hiddenSize }) => ({ embeddingScale: Math.sqrt(hiddenSize) }),
    },
    units: { neurons: GATED_NEURONS, heads: {} },
  },
);

/** The settings of Gemma 2 and Gemma 3. */
const windowedShape = {
  ...commonShape,
  ...layerTypesShape,
  num_key_value_heads: positiveInt.nullable().default(4),
  hidden_activation: activationName.default("gelu_tanh"),
  query_pre_attn_scalar: z.number().positive().default(256),
  sliding_window: positiveInt.nullable().default(4096),
};

type WindowedConfig = CommonConfig & {
  readonly query_pre_attn_scalar: number;
  readonly sliding_window: number | null;
};

/** Returns the traits of Gemma 2 and Gemma 3. @param isSliding returns whether a block has a sliding window */
function windowedTraits(config: WindowedConfig, isSliding: (index: number) => boolean): LlamaTraits {
  return {
    ...commonTraits(config),
    normPlacement: "around",
    window: (index) => isSliding(index) ? config.sliding_window ?? 0 : 0,
    scale: config.query_pre_attn_scalar ** -0.5,
  };
}

/**
 * Gemma 2 (arXiv 2408.00118): Gemma's block with norms before and after each half, limited attention scores and
 * logits, and a sliding window in every other block.
 */
export const gemma2 = llamaFamily(
  "gemma2",
  z.object({
    ...windowedShape,
    max_position_embeddings: positiveInt.default(8192),
    final_logit_softcapping: z.number().positive().nullable().default(30),
    attn_logit_softcapping: z.number().positive().nullable().default(50),
  }).transform((config) => ({ ...config, hidden_act: config.hidden_activation })),
  (config) => ({
    ...windowedTraits(config, readLayerTypes(config, (index) => index % 2 === 0)),
    softCap: config.attn_logit_softcapping ?? undefined,
    logits: { softCap: config.final_logit_softcapping ?? undefined },
  }),
  {
    gguf: {
      name: "gemma2",
      layers: GEMMA_LAYERS,
      activation: "gelu_tanh",
      windowPeriod: 2,
      sharesHead: true,
      factors: (wanted, spec) => ({
        ...gemmaFactors(spec, 46),
        attentionSoftCap: wanted.attentionSoftCap ?? 50,
        logitSoftCap: wanted.logitSoftCap ?? 30,
      }),
    },
    units: { neurons: GATED_NEURONS, heads: { dividesHiddenSize: true }, blockList: "layer_types" },
  },
);

const gemma3Schema = z.object({
  ...windowedShape,
  ...twoRotationsShape,
  max_position_embeddings: positiveInt.default(131_072),
  num_attention_heads: positiveInt.default(8),
  vocab_size: positiveInt.default(262_208),
  /** In configurations without `layer_types`, the last of every so many blocks has no sliding window. */
  sliding_window_pattern: positiveInt.default(6),
  final_logit_softcapping: z.number().positive().nullish(),
  /** The base of the frequencies in blocks with a window, in versions of transformers before 5. */
  rope_local_base_freq: z.number().positive().nullish(),
});

/**
 * Gemma 3 (arXiv 2503.19786) for text: Gemma 2's block with norms of the heads of q and k, and without limits of
 * attention scores. Most blocks have a sliding window and a rotation of their own.
 */
export const gemma3: Family = {
  modelType: "gemma3_text",
  gguf: {
    name: "gemma3",
    layers: { ...GEMMA_LAYERS, ...HEAD_NORMS },
    activation: "gelu_tanh",
    windowPeriod: 6,
    windowTheta: 10_000,
    sharesHead: true,
    factors: (_, spec) => gemmaFactors(spec, 62),
  },
  units: { neurons: GATED_NEURONS, heads: { dividesHiddenSize: true }, blockList: "layer_types" },
  textParts: { gemma3: { fixed: { final_logit_softcapping: null } } },
  read(object, has) {
    const config = readConfig(gemma3Schema, object);
    const isSliding = readLayerTypes(config, (index) => (index + 1) % config.sliding_window_pattern !== 0);
    const { full, sliding } = readTwoRotations(config, config.head_dim, {
      full: config.rope_theta ?? 1_000_000,
      sliding: config.rope_local_base_freq ?? 10_000,
    });
    return llamaModel({ ...config, rope_parameters: null, hidden_act: config.hidden_activation }, has, {
      ...windowedTraits(config, isSliding),
      queryKeyNorm: "heads",
      rotary: (index) => isSliding(index) ? sliding : full,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
    });
  },
};
