/** Finds and removes the member `quantization_config` of config.json, which describes quantised weights. */

import { ModelError } from "../../../base/files/file_error.ts";

export const QUANTIZATION_KEY = "quantization_config";

/**
 * The names of the member that describes quantised weights. Old versions of compressed-tensors wrote the second one. Error messages
 * use the first one for both.
 */
const QUANTIZATION_KEYS = [QUANTIZATION_KEY, "compression_config"];

/** Returns the description of the quantised weights. Undefined if the weights are dense. */
export function quantizationOf(config: Readonly<Record<string, unknown>>): unknown {
  return QUANTIZATION_KEYS.map((key) => config[key] ?? undefined).find((value) => value !== undefined);
}

/** Returns an error that names a member of `quantization_config`, what it must be, and its value. */
export function unsupportedMember(
  folder: string,
  member: string,
  needed: string,
  value: unknown,
): ModelError {
  const text = JSON.stringify(value)?.slice(0, 200);
  return new ModelError(`${folder}: ${QUANTIZATION_KEY}.${member} must be ${needed}, not ${text}`);
}

/** Returns a config.json without the description of quantised weights. */
export function makeDenseConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !QUANTIZATION_KEYS.includes(key)));
}
