/**
 * Compares the text parts of multimodal models with transformers. All families are in one file, because its tests share
 * one Python process. `tests/model/families/multimodal_test.ts` tests that all other tensors are copied.
 */

import { FAMILY_MODELS, LLAMA, type Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily } from "./random_family.ts";

/** The settings that the towers for images have in common. */
const VISION: Settings = {
  hidden_size: 16,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  image_size: 28,
  patch_size: 14,
};

const {
  gemma3_text: gemma3,
  gemma4_text: gemma4,
  gemma4_text_e2b: gemma4E2b,
  llama4_text: llama4,
  ministral3,
  qwen3_5_text: qwen35,
  qwen3_5_moe_text: qwen35Moe,
} = FAMILY_MODELS;

await compareFamily("the text part of Gemma 3", {
  model_type: "gemma3",
  vision_config: { ...VISION, model_type: "siglip_vision_model" },
  mm_tokens_per_image: 4,
  text_config: gemma3.base,
}, {
  "with a window in its first block": { dtype: "bfloat16" },
  "with biases": { settings: { text_config: { ...gemma3.base, attention_bias: true } } },
  "with a limit of logits, which the class of the multimodal model ignores": {
    settings: { text_config: { ...gemma3.base, final_logit_softcapping: 3.5 } },
    dtype: "bfloat16",
    same: "with a window in its first block",
  },
});

/** The settings of the tower for images of Gemma 4. */
const GEMMA4_VISION: Settings = {
  ...VISION,
  num_key_value_heads: 2,
  head_dim: 8,
  position_embedding_size: 8,
};

await compareFamily("the text part of Gemma 4", {
  model_type: "gemma4",
  vision_config: GEMMA4_VISION,
  text_config: { ...gemma4.base, use_bidirectional_attention: "vision" },
}, {
  "with keys that are also values in its second block": { dtype: "bfloat16" },
  "with inputs of tokens, and with shared keys and values": { settings: { text_config: gemma4E2b.base } },
  "with experts and a limit of logits": {
    settings: {
      text_config: {
        ...{ ...gemma4.base, ...gemma4.variants["with two of five experts"] },
        final_logit_softcapping: 3.5,
      },
    },
  },
});

await compareFamily("the text part of Gemma 4 unified", {
  model_type: "gemma4_unified",
  text_config: { ...gemma4.base, model_type: "gemma4_unified_text" },
}, {
  "with keys that are also values in its second block": {},
});

await compareFamily("the text part of LLaMA 4", {
  model_type: "llama4",
  vision_config: {
    ...{ ...VISION, pixel_shuffle_ratio: 0.5, projector_input_dim: 16, projector_output_dim: 16 },
    ...{ vision_output_dim: 16, rope_parameters: { rope_type: "default", rope_theta: 100 } },
  },
  text_config: llama4.base,
}, {
  "with experts in its second block": { dtype: "bfloat16" },
  "with two experts per token, and longer chunks": {
    settings: { text_config: { ...llama4.base, num_experts_per_tok: 2, attention_chunk_size: 8 } },
    dtype: "bfloat16",
  },
});

await compareFamily("the text part of Mistral 3", {
  model_type: "mistral3",
  vision_config: { ...VISION, model_type: "pixtral", head_dim: 8 },
  text_config: ministral3.base,
}, {
  "with the text part of Ministral 3": {},
  "with the text part of Mistral, and an untied head": {
    settings: {
      text_config: { ...LLAMA, model_type: "mistral", sliding_window: 5 },
      tie_word_embeddings: false,
    },
  },
});

/** A text part with heads of eight dimensions, of which each pair belongs to one of three positions. */
const QWEN: Settings = {
  ...LLAMA,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  rope_parameters: { rope_type: "default", rope_theta: 100, mrope_section: [2, 1, 1] },
};
const QWEN_VISION: Settings = {
  ...{ depth: 1, hidden_size: 16, intermediate_size: 16, num_heads: 2, out_hidden_size: 16 },
  ...{ fullatt_block_indexes: [0], deepstack_visual_indexes: [], num_position_embeddings: 16 },
};

/** Writes the settings of the text part into the outermost object, with the rotary settings that published checkpoints have. */
function inOldQwenForm({ text_config, ...config }: Record<string, unknown>): Settings {
  const { rope_parameters: _, model_type: __, ...text } = text_config as Settings;
  return { ...text, ...config, rope_theta: 100, rope_scaling: { type: "mrope", mrope_section: [2, 1, 1] } };
}

const { head_dim: _, ...QWEN2_5 } = QWEN;
const QWEN2_5_TEXT: Settings = { ...QWEN2_5, model_type: "qwen2_5_vl_text" };

await compareFamily("the text part of Qwen2.5-VL", {
  model_type: "qwen2_5_vl",
  vision_config: QWEN_VISION,
  text_config: QWEN2_5_TEXT,
}, {
  "with an untied head": {},
  "with an untied head, in the form of older versions": {
    rewrite: inOldQwenForm,
    same: "with an untied head",
  },
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with a window in its second block": {
    settings: {
      text_config: { ...QWEN2_5_TEXT, use_sliding_window: true, sliding_window: 5, max_window_layers: 1 },
    },
  },
});

await compareFamily("the text part of Qwen3-VL", {
  model_type: "qwen3_vl",
  vision_config: QWEN_VISION,
  text_config: { ...QWEN, model_type: "qwen3_vl_text" },
}, {
  "with an untied head": {},
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with biases of attention": {
    settings: { text_config: { ...QWEN, model_type: "qwen3_vl_text", attention_bias: true } },
  },
});

await compareFamily("the text part of Qwen3.5", {
  model_type: "qwen3_5",
  vision_config: QWEN_VISION,
  text_config: qwen35.base,
}, {
  "with linear attention in its first block": {},
  "with a tied head": { settings: { tie_word_embeddings: true } },
});

await compareFamily("the text part of Qwen3.5 with experts", {
  model_type: "qwen3_5_moe",
  vision_config: QWEN_VISION,
  text_config: qwen35Moe.base,
}, {
  "with linear attention in its first block": {},
});
