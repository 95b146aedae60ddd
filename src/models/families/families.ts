/** The list of all model families. `readModelSpec` finds the family of a checkpoint by the `model_type` in its config.json. */

import { ModelError } from "../../files/model_error.ts";
import { bloom } from "./bloom.ts";
import type { Family, ModelSpec } from "./family.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeoX } from "./gpt_neox.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { opt } from "./opt.ts";
import { phi3 } from "./phi3.ts";
import { qwen2, qwen3 } from "./qwen.ts";

const FAMILIES: readonly Family[] = [opt, bloom, gpt2, gptNeoX, llama, mistral, qwen2, qwen3, phi3];

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
  const reason = unsupportedReason(config);
  if (family && !reason) return family.read(config, has);
  const supported = FAMILIES.map(({ modelType }) => modelType).join(", ");
  const problem = reason ? `${reason}, which is not supported` : "is not supported";
  throw new ModelError(
    `config.json: model_type ${JSON.stringify(config.model_type)} ${problem}; ` +
      `the supported types are: ${supported}`,
  );
}

/** Reasons, each with keys of config.json. The reason applies if at least one of its keys is set. */
const REASONS_BY_KEY: readonly (readonly [keys: readonly string[], reason: string])[] = [
  [["vision_config", "audio_config", "text_config"], "is multimodal"],
  [
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"],
    "is a mixture of experts",
  ],
];

/**
 * Returns why a configuration is not supported, as the predicate of a sentence ("is multimodal"), or
 * undefined if no reason was found.
 */
function unsupportedReason(config: Readonly<Record<string, unknown>>): string | undefined {
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  for (const [keys, reason] of REASONS_BY_KEY) if (keys.some((key) => isSet(config[key]))) return reason;
  return undefined;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0;
}
