/** Finds the architecture of llama.cpp that runs a model, and the places of its tensors. */

import { ModelError } from "../../base/files/file_error.ts";
import type { Architecture } from "../families/architecture.ts";
import { configError } from "../families/config/config.ts";
import { FAMILIES, MODEL_TYPES } from "../families/families.ts";

/** @throws {ModelError} if llama.cpp has no architecture for the `model_type`, or does not support a setting's value */
export function findArchitecture(config: Readonly<Record<string, unknown>>): Architecture {
  const type = String(config.model_type), known = FAMILIES.find(({ modelType }) => modelType === type)?.gguf;
  if (!known) {
    const types = FAMILIES.filter(({ gguf }) => gguf).map(({ modelType }) => modelType).join(", ");
    throw configError(
      `model_type ${JSON.stringify(type)} cannot be exported to GGUF; the types that can are: ${types}` +
        (MODEL_TYPES.multimodal.includes(type)
          ? "; of a multimodal model, only a text part that is saved alone can"
          : ""),
    );
  }
  const architecture = { ...known, ...known.variant?.(config) };
  for (const [name, needed] of Object.entries(architecture.settings ?? {})) {
    const value = config[name] ?? needed;
    if (value !== needed) {
      throw configError(`${name} must be ${needed} for GGUF, not ${JSON.stringify(value)}`);
    }
  }
  return architecture;
}

/** Returns the words for an architecture in messages. @param name its name in llama.cpp */
export function titleOf(name: string): string {
  return `the architecture ${name} of llama.cpp`;
}

/** Returns the name in GGUF of a layer or norm of a block. @throws {ModelError} if llama.cpp has none */
export function placeOf(architecture: Architecture, folder: string, name: string): string {
  if (Object.hasOwn(architecture.layers, name)) return architecture.layers[name];
  throw noPlaceError(architecture, folder, name);
}

export function noPlaceError(architecture: Architecture, folder: string, name: string): ModelError {
  return new ModelError(
    `${folder}: ${titleOf(architecture.name)} has no place for ${name}`,
  );
}
