/** The lists of all model families. `readModelSpec` finds the family of a checkpoint by the `model_type` in its config.json. */

import { ModelError } from "../../base/files/file_error.ts";
import { quote } from "../../base/texts.ts";
import { configError } from "./config/config.ts";
import { isObject } from "../../base/json.ts";
import { bloom } from "./bloom.ts";
import { deepseekV2, deepseekV3, glm4Moe, kimiK2 } from "./deepseek.ts";
import type { Family, ModelSpec } from "./family.ts";
import { falcon } from "./falcon.ts";
import { gemma, gemma2, gemma3 } from "./gemma.ts";
import { gemma4 } from "./gemma4.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeoX } from "./gpt_neox.ts";
import { gptOss } from "./gpt_oss.ts";
import { llama4 } from "./llama4.ts";
import {
  ernie45,
  exaone4,
  glm4,
  granite,
  llama,
  ministral3,
  mistral,
  phi3,
  qwen2,
  qwen3,
  seedOss,
  smolLm3,
  starcoder2,
} from "./llama.ts";
import { graniteHybrid, nemotronH } from "./mamba.ts";
import { mixtral, olmoe, qwen2Moe, qwen3Moe } from "./mixtures.ts";
import { MULTIMODAL_TYPES, textConfig } from "./multimodal.ts";
import { olmo2, olmo3 } from "./olmo.ts";
import { opt } from "./opt.ts";
import { qwen35, qwen35Moe, qwen3Next } from "./qwen3_next.ts";
import { cohere2, phi } from "./parallel.ts";

/** The families without experts. Some models of Gemma 4 have experts, and the others have none. */
const DENSE: readonly Family[] = [
  ...[opt, bloom, gpt2, gptNeoX, falcon],
  ...[llama, mistral, ministral3, qwen2, qwen3, phi, phi3],
  ...[gemma, gemma2, gemma3, gemma4, olmo2, olmo3, granite],
  ...[starcoder2, smolLm3, seedOss, ernie45, glm4, exaone4, cohere2, qwen35],
];

/** The families of mixtures of experts. */
const MIXTURES: readonly Family[] = [
  ...[mixtral, qwen2Moe, qwen3Moe, olmoe, deepseekV2, deepseekV3, kimiK2, glm4Moe],
  ...[gptOss, llama4, gemma4, qwen3Next, qwen35Moe, graniteHybrid, nemotronH],
];

const typesOf = (families: readonly Family[]) => families.map(({ modelType }) => modelType);

/** The supported values of `model_type`. */
export const MODEL_TYPES = {
  dense: typesOf(DENSE),
  mixtures: typesOf(MIXTURES),
  multimodal: MULTIMODAL_TYPES,
} as const;

/**
 * Returns the model that the configuration of a checkpoint describes. Of a multimodal model, it is the text part.
 * @param config the object in config.json
 * @param has returns whether the checkpoint has a tensor with the given name
 * @throws {ModelError} if no family supports the model. The message lists the supported types
 * @throws {ModelError} naming a setting that is missing, malformed or not supported
 */
export function readModelSpec(
  config: Readonly<Record<string, unknown>>,
  has: (name: string) => boolean,
): ModelSpec {
  const text = textConfig(config);
  if (text) return { ...readTextPart(text, has, isObject(config.text_config)), isTextPart: true };
  const family = [...DENSE, ...MIXTURES].find(({ modelType }) => modelType === config.model_type);
  const reason = unsupportedReason(config, family);
  if (family && !reason) return family.read(config, has);
  const isMixture = reason === MIXTURE, { dense, mixtures, multimodal } = MODEL_TYPES;
  const problem = isMixture ? `${reason} of a kind that ` : reason ? `${reason}, which ` : "";
  const types = new Set(isMixture ? mixtures : [...dense, ...mixtures, ...multimodal]);
  throw configError(
    `model_type ${quote(config.model_type)} ${problem}is not supported, but ` +
      "prune_ of the Python package pare-llm prunes any causal model of PyTorch; the supported " +
      `${isMixture ? "mixtures" : "types"} are: ${[...types].join(", ")}`,
  );
}

/** @param isNested whether the settings are in the object `text_config`. Errors then name it */
function readTextPart(
  config: Readonly<Record<string, unknown>>,
  has: (name: string) => boolean,
  isNested: boolean,
): ModelSpec {
  try {
    return readModelSpec(config, has);
  } catch (error) {
    if (!(error instanceof ModelError && isNested)) throw error;
    throw new ModelError(error.message.replace("config.json: ", "config.json: text_config: "), {
      cause: error,
    });
  }
}

/** Keys of config.json. A model is multimodal if at least one of them is set. */
const MULTIMODAL_KEYS = ["vision_config", "audio_config", "text_config"];

/** The reason of a mixture of experts that no family reads. */
const MIXTURE = "is a mixture of experts";

/** Keys of config.json. A model is a mixture of experts if at least one of them is set. */
const EXPERTS_KEYS = [
  "num_experts",
  "num_local_experts",
  "n_routed_experts",
  "moe_num_experts",
  "num_moe_experts",
];

/** Returns why a configuration is not supported, as the predicate of a sentence ("is multimodal"), or undefined if no reason was found. */
function unsupportedReason(
  config: Readonly<Record<string, unknown>>,
  family: Family | undefined,
): string | undefined {
  const isSet = (key: string) => ![undefined, null, 0].some((unset) => unset === config[key]);
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  if (MULTIMODAL_KEYS.some(isSet)) return "is multimodal";
  return EXPERTS_KEYS.some(isSet) && !MIXTURES.some((mixture) => mixture === family) ? MIXTURE : undefined;
}
