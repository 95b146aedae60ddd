/**
 * The families Gemma 2 and Gemma 3, which share most traits. Names and arithmetic follow transformers'
 * `Gemma2ForCausalLM` and `Gemma3ForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../base/files/file_error.ts";
import { activationName, layerTypesShape, positiveInt, readConfig, readLayerTypes } from "./config/config.ts";
import { readRotary, ropeObject } from "./config/rotary_config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";
import type { LlamaTraits } from "./llama/llama_traits.ts";
import type { RotarySpec } from "../pieces/rotary.ts";

/** The common settings. The defaults are those of the configuration classes in transformers. */
const gemmaShape = {
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positiveInt.nullable().default(4),
  head_dim: positiveInt.default(256),
  hidden_activation: activationName.default("gelu_tanh"),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  query_pre_attn_scalar: z.number().positive().default(256),
  sliding_window: positiveInt.nullable().default(4096),
  use_bidirectional_attention: z.boolean().nullish(),
};

type GemmaConfig = Pick<
  z.infer<z.ZodObject<typeof gemmaShape>>,
  | "hidden_size"
  | "attention_bias"
  | "query_pre_attn_scalar"
  | "sliding_window"
  | "use_bidirectional_attention"
>;

/**
 * Returns the common traits.
 * @param isSliding returns whether a block has a sliding window
 * @throws {ModelError} if attention is not causal
 */
function gemmaTraits(config: GemmaConfig, isSliding: (index: number) => boolean): LlamaTraits {
  if (config.use_bidirectional_attention) {
    throw new ModelError("config.json: use_bidirectional_attention is true, which is not supported");
  }
  const { attention_bias: bias, sliding_window: window } = config;
  return {
    biases: { qkv: bias, out: bias },
    normPlacement: "around",
    normWeightOffset: 1,
    window: (index) => isSliding(index) ? window ?? 0 : 0,
    attentionScale: config.query_pre_attn_scalar ** -0.5,
    embeddingScale: Math.sqrt(config.hidden_size),
  };
}

const gemma2Schema = z.object({
  ...gemmaShape,
  max_position_embeddings: positiveInt.default(8192),
  final_logit_softcapping: z.number().positive().nullable().default(30),
  attn_logit_softcapping: z.number().positive().nullable().default(50),
});

/**
 * Gemma 2 (arXiv 2408.00118): LLaMA's block with norms before and after each half, limited attention scores and
 * logits, and a sliding window in every other block.
 */
export const gemma2: Family = {
  modelType: "gemma2",
  read(object, has) {
    const config = readConfig(gemma2Schema, object);
    const isSliding = readLayerTypes(config, (index) => index % 2 === 0);
    return llamaModel({ ...config, hidden_act: config.hidden_activation }, has, {
      ...gemmaTraits(config, isSliding),
      attentionSoftCap: config.attn_logit_softcapping ?? undefined,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
    });
  },
};

const gemma3Schema = z.object({
  ...gemmaShape,
  max_position_embeddings: positiveInt.default(131_072),
  /** In configurations without `layer_types`, the last of every so many blocks has no sliding window. */
  sliding_window_pattern: positiveInt.default(6),
  final_logit_softcapping: z.number().positive().nullish(),
  /**
   * The rotations of both types of blocks. Versions of transformers before 5 write `rope_theta` and
   * `rope_scaling` for the blocks without a window, and `rope_local_base_freq` for the others.
   */
  rope_parameters: z.object({ full_attention: ropeObject, sliding_attention: ropeObject }).partial()
    .nullish(),
  rope_local_base_freq: z.number().positive().nullish(),
});

type Gemma3Config = z.infer<typeof gemma3Schema>;

/**
 * Gemma 3 (arXiv 2503.19786) for text: Gemma 2's block with norms of the heads of q and k, and without limits of
 * attention scores. Most blocks have a sliding window and a rotation of their own.
 */
export const gemma3: Family = {
  modelType: "gemma3_text",
  read(object, has) {
    const config = readConfig(gemma3Schema, object);
    const isSliding = readLayerTypes(config, (index) => (index + 1) % config.sliding_window_pattern !== 0);
    const full = fullRotary(config), sliding = slidingRotary(config);
    return llamaModel({ ...config, rope_parameters: null, hidden_act: config.hidden_activation }, has, {
      ...gemmaTraits(config, isSliding),
      queryKeyNorm: "heads",
      rotary: (index) => isSliding(index) ? sliding : full,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
    });
  },
};

/** Returns the rotation of the blocks without a sliding window. */
function fullRotary({ rope_parameters, rope_theta, rope_scaling, ...config }: Gemma3Config): RotarySpec {
  const settings = { ...rope_parameters?.full_attention, ...rope_scaling };
  return readRotary(
    { ...config, rope_parameters: settings, rope_theta: rope_theta ?? 1_000_000 },
    config.head_dim,
    false,
  );
}

/** Returns the rotation of the blocks with a sliding window. */
function slidingRotary({ rope_parameters, rope_scaling: _, ...config }: Gemma3Config): RotarySpec {
  const settings = rope_parameters?.sliding_attention ?? {};
  const rope_theta = config.rope_local_base_freq ?? 10_000;
  const rotary = readRotary({ ...config, rope_parameters: settings, rope_theta }, config.head_dim, false);
  return { ...rotary, name: "sliding" };
}
