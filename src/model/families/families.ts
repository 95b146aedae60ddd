/** The list of all model families. `readModelSpec` finds the family of a checkpoint by the `model_type` in its config.json. */

import { ModelError } from "../../base/files/file_error.ts";
import { bloom } from "./bloom.ts";
import { deepseekV2, deepseekV3, glm4Moe } from "./deepseek.ts";
import type { Family, ModelSpec } from "./family.ts";
import { gemma2, gemma3 } from "./gemma.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeoX } from "./gpt_neox.ts";
import { gptOss } from "./gpt_oss.ts";
import { llama4 } from "./llama4.ts";
import { granite, llama, mistral, olmo2, phi3, qwen2, qwen3, smolLm3, starcoder2 } from "./llama.ts";
import { mixtral, olmoe, qwen2Moe, qwen3Moe } from "./mixtures.ts";
import { opt } from "./opt.ts";

const FAMILIES: readonly Family[] = [
  ...[opt, bloom, gpt2, gptNeoX],
  ...[llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3, olmo2, granite, starcoder2, smolLm3],
  ...[mixtral, qwen2Moe, qwen3Moe, olmoe, deepseekV2, deepseekV3, glm4Moe, gptOss, llama4],
];

/**
 * Returns the model that the configuration of a checkpoint describes.
 * @param config the object in config.json
 * @param has returns whether the checkpoint has a tensor with the given name
 * @throws {ModelError} if no family supports the model. The message lists the supported types
 * @throws {ModelError} naming a setting that is missing, malformed or not supported
 */
export function readModelSpec(
  config: Readonly<Record<string, unknown>>,
  has: (name: string) => boolean,
): ModelSpec {
  const family = FAMILIES.find(({ modelType }) => modelType === config.model_type);
  const reason = unsupportedReason(config, family);
  if (family && !reason) return family.read(config, has);
  const isMixture = reason === MIXTURE, known = FAMILIES.filter(({ hasExperts }) => !isMixture || hasExperts);
  const problem = isMixture ? `${reason} of a kind that ` : reason ? `${reason}, which ` : "";
  throw new ModelError(
    `config.json: model_type ${JSON.stringify(config.model_type)} ${problem}is not supported` +
      `; the supported ${isMixture ? "mixtures" : "types"} are: ${
        known.map(({ modelType }) => modelType).join(", ")
      }`,
  );
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
  return EXPERTS_KEYS.some(isSet) && !family?.hasExperts ? MIXTURE : undefined;
}
