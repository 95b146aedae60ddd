/** Finds and removes the member of config.json that describes quantised weights. */

import { ModelError } from "../../../base/files/file_error.ts";
import { isObject } from "../../../base/json.ts";

export const QUANTIZATION_KEY = "quantization_config";

/** The member of MLX, which has no `quant_method`, and the method that stands for it. MLX prefers it to `quantization_config`. */
export const MLX_KEY = "quantization", MLX_METHOD = "mlx";

/**
 * The names of the member that describes quantised weights. Old versions of compressed-tensors wrote the second one. Error messages
 * use the first one for all.
 */
const QUANTIZATION_KEYS = [QUANTIZATION_KEY, "compression_config", MLX_KEY];

/** Returns the description of the quantised weights. Undefined if the weights are dense. */
export function quantizationOf(config: Readonly<Record<string, unknown>>): unknown {
  const { [MLX_KEY]: mlx } = config;
  if (isObject(mlx)) return { quant_method: MLX_METHOD, ...mlx };
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
