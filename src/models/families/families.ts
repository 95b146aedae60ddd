/** Every model family there is, and the choice among them. */

import { ModelError } from "../error.ts";
import type { Family, ModelSpec } from "./family.ts";
import { opt } from "./opt.ts";

const FAMILIES: readonly Family[] = [opt];

/**
 * The model that a checkpoint's configuration describes.
 * @throws {ModelError} its `model_type` is not supported: names it and those that are; or as `Family.read`
 */
export function readModelSpec(
  config: Readonly<Record<string, unknown>>,
  has: (name: string) => boolean,
): ModelSpec {
  const family = FAMILIES.find(({ modelType }) => modelType === config.model_type);
  if (family) return family.read(config, has);
  const supported = FAMILIES.map(({ modelType }) => modelType).join(", ");
  throw new ModelError(
    `config.json: model_type ${JSON.stringify(config.model_type)} is not supported; these are: ${supported}`,
  );
}
