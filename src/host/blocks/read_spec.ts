/** Reads the configuration of a model whose blocks a host runs. */

import { z } from "zod";
import { messageOf } from "../../base/errors.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { isObject, type JsonBounds, parseJson } from "../../base/json.ts";
import { stopAtFault } from "../../base/stop_at_fault.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { requireNoTokenInputs } from "../../model/token_inputs.ts";
import { MAX_MODEL_BLOCKS, MAX_MODEL_LAYERS } from "../../protocol/limits.ts";
import { invalidParameter, invalidParameters, type Refusal } from "../../protocol/refusal.ts";

/** The data from which `readSpec` derives the network of a model. */
export interface ModelDescription {
  /** The text of config.json. */
  readonly config: string;
  /** The names of the tensors that decide between variants of a family. */
  readonly names: readonly string[];
}

/** The names of the tensors of a block. A block of a thousand experts has 3,000, and in packed files four times as many. */
const namesSchema = stopAtFault(z.array(z.string().max(512)).max(2 ** 15));

/**
 * Returns the network of a model, and its description, by the metadata of a body that has `tensors`.
 * @throws {Refusal} `invalid_parameter` if a member of the metadata is missing or malformed, or the model is not supported
 */
export function readModel(
  { config, names: json = "[]" }: Readonly<Record<string, string>>,
  tensors: readonly { readonly name: string }[],
): { readonly model: ModelDescription; readonly spec: ModelSpec } {
  if (config === undefined) throw invalidConfig("is missing in the metadata of the body");
  const given = { names: metadataJson("names", json) },
    parsed = z.object({ names: namesSchema }).safeParse(given);
  if (!parsed.success) throw invalidParameters(parsed.error, given);
  const names = new Set([...tensors.map(({ name }) => name), ...parsed.data.names]),
    found = new Set<string>();
  const spec = specOf(config, (name) => names.has(name) && found.add(name) !== undefined);
  return { model: { config, names: [...found] }, spec };
}

/** Parses a member of the metadata of a body. @throws {Refusal} `invalid_parameter` */
export function metadataJson(parameter: string, json: string, bounds?: JsonBounds): unknown {
  try {
    return parseJson(json, bounds);
  } catch (error) {
    throw invalidParameter(parameter, messageOf(error));
  }
}

/** Returns the network of a model. @throws {Refusal} `invalid_parameter` if the configuration is malformed or not supported */
export function readSpec({ config, names }: ModelDescription): ModelSpec {
  return specOf(config, (name) => names.includes(name));
}

function specOf(json: string, has: (name: string) => boolean): ModelSpec {
  let spec: ModelSpec;
  try {
    const config = metadataJson("config", json);
    if (!isObject(config)) throw new ModelError("is not an object");
    spec = readModelSpec(config, has);
    requireNoTokenInputs(spec);
  } catch (error) {
    throw error instanceof ModelError ? invalidConfig(error.message) : error;
  }
  const { blockCount } = spec;
  if (blockCount > MAX_MODEL_BLOCKS) {
    throw invalidConfig(`describes ${blockCount} blocks, the limit is ${MAX_MODEL_BLOCKS}`);
  }
  let layers = 0;
  for (let index = 0; index < blockCount; index++) {
    layers += spec.block(index).groups.flat().length;
    if (layers <= MAX_MODEL_LAYERS) continue;
    throw invalidConfig(`describes more than ${MAX_MODEL_LAYERS} linear layers, which is the limit`);
  }
  return spec;
}

function invalidConfig(detail: string): Refusal {
  return invalidParameter("config", detail);
}
