/** Finds the text part of a multimodal model. It is pruned as a model of its own family, and all other tensors are copied. */

import { configError } from "./config/config.ts";
import { isObject } from "../../base/json.ts";

type Config = Readonly<Record<string, unknown>>;

interface TextPart {
  /** The `model_type` of the family, by the `model_type` of the text part. A text part without one has the first. */
  readonly families: Readonly<Record<string, string>>;
  /** The defaults of settings that differ from those of the family. */
  readonly defaults?: Config;
  /** Settings that the class of the multimodal model does not read, with the values that it implies. */
  readonly fixed?: Config;
  /** Whether the head shares the weight of the table of tokens also if only the nested configuration says so. */
  readonly isTiedByEither?: boolean;
}

/** The multimodal models that are supported, by their `model_type`. */
const TEXT_PARTS: Readonly<Record<string, TextPart>> = {
  gemma3: { families: { gemma3_text: "gemma3_text" }, fixed: { final_logit_softcapping: null } },
  gemma4: { families: { gemma4_text: "gemma4_text" } },
  gemma4_unified: {
    families: { gemma4_unified_text: "gemma4_text" },
    defaults: { sliding_window: 1024, max_position_embeddings: 262_144 },
    fixed: { hidden_size_per_layer_input: 0, enable_moe_block: false },
  },
  llama4: { families: { llama4_text: "llama4_text" } },
  mistral3: {
    families: { mistral: "mistral", ministral3: "ministral3" },
    defaults: { tie_word_embeddings: true },
  },
  qwen2_5_vl: {
    // Older versions of transformers write the settings of the text part into the outermost object.
    families: { qwen2_5_vl_text: "qwen2", qwen2_5_vl: "qwen2" },
    defaults: { num_key_value_heads: 8, rms_norm_eps: 1e-5, rope_theta: 1_000_000, max_window_layers: 80 },
    isTiedByEither: true,
  },
  qwen3_5: { families: { qwen3_5_text: "qwen3_5_text" } },
  qwen3_5_moe: { families: { qwen3_5_moe_text: "qwen3_5_moe_text" } },
  qwen3_vl: { families: { qwen3_vl_text: "qwen3" }, defaults: { rope_theta: 500_000 } },
};

export const MULTIMODAL_TYPES = Object.keys(TEXT_PARTS);

/**
 * Returns the configuration of the text part, in the form of its family, or undefined if `model_type` is not that of a supported
 * multimodal model.
 * @throws {ModelError} if the text part has the `model_type` of another family
 */
export function textConfig(config: Config): Config | undefined {
  const type = String(config.model_type);
  if (!Object.hasOwn(TEXT_PARTS, type)) return undefined;
  const { families, defaults, fixed, isTiedByEither } = TEXT_PARTS[type];
  const { vision_config: _, ...text } = isObject(config.text_config) ? config.text_config : config;
  const textType = String(text.model_type ?? Object.keys(families)[0]);
  if (!Object.hasOwn(families, textType)) {
    const supported = Object.keys(families).join(", ");
    throw configError(
      `text_config.model_type ${
        JSON.stringify(textType)
      } of a ${type} model is not supported; the supported ` +
        `types are: ${supported}`,
    );
  }
  return {
    ...defaults,
    ...text,
    ...fixed,
    model_type: families[textType],
    tie_word_embeddings: (isTiedByEither && text.tie_word_embeddings) ||
      (config.tie_word_embeddings ?? text.tie_word_embeddings ?? defaults?.tie_word_embeddings),
  };
}
