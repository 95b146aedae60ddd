/** Reads the configuration of a model whose blocks a host runs. */

import { messageOf } from "../../base/errors.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { tryParseJson } from "../../base/texts.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { MAX_MODEL_LAYERS } from "../../protocol/limits.ts";
import { invalidParameter, type Refusal } from "../../protocol/refusal.ts";

/** The data from which `readSpec` derives the network of a model. */
export interface ModelDescription {
  /** The text of config.json. */
  readonly config: string;
  /** The names of tensors, also of those in the first block, which decide between variants of a family. */
  readonly names: readonly unknown[];
}

/** Returns the description in the metadata of a body that has `tensors`. @throws {Refusal} `invalid_parameter` */
export function describeModel(
  { config, names = "[]" }: Readonly<Record<string, string>>,
  tensors: readonly { readonly name: string }[],
): ModelDescription {
  if (config === undefined) throw invalidConfig("is missing in the metadata of the body");
  const block = tryParseJson(names);
  if (Array.isArray(block)) return { config, names: [...tensors.map(({ name }) => name), ...block] };
  throw invalidParameter("names", "is not a list as JSON in the metadata of the body");
}

/** Returns the network of a model. @throws {Refusal} `invalid_parameter` if the configuration is malformed or not supported */
export function readSpec({ config: json, names: given }: ModelDescription): ModelSpec {
  const names = new Set(given);
  let spec: ModelSpec;
  try {
    const config = JSON.parse(json);
    if (typeof config !== "object" || config === null) throw new ModelError("is not an object");
    spec = readModelSpec(config, (name) => names.has(name));
  } catch (error) {
    if (error instanceof ModelError || error instanceof SyntaxError) throw invalidConfig(messageOf(error));
    throw error;
  }
  let layers = 0;
  for (let index = 0; index < spec.blockCount; index++) {
    layers += spec.block(index).groups.flat().length;
    if (layers <= MAX_MODEL_LAYERS) continue;
    throw invalidConfig(`describes more than ${MAX_MODEL_LAYERS} linear layers, which is the limit`);
  }
  return spec;
}

function invalidConfig(detail: string): Refusal {
  return invalidParameter("config", detail);
}
