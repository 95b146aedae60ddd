/** The list of all model families. `readModelSpec` finds the family of a checkpoint by the `model_type` in its config.json. */

import { ModelError } from "../../files/model_error.ts";
import { bloom } from "./bloom.ts";
import type { Family, ModelSpec } from "./family.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { opt } from "./opt.ts";
import { phi3 } from "./phi3.ts";
import { qwen2, qwen3 } from "./qwen.ts";
import { unsupportedReason } from "./unsupported.ts";

const FAMILIES: readonly Family[] = [opt, bloom, llama, mistral, qwen2, qwen3, phi3];

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
