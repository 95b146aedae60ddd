/** Reads config.json by a family's schema, and the settings families share. */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import type { Activation } from "../pieces/block_pass.ts";

/** The settings `schema` names; others are ignored. @throws {ModelError} naming each that is missing or malformed */
export function readConfig<T>(schema: z.ZodType<T>, config: Readonly<Record<string, unknown>>): T {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new ModelError(`config.json: ${faults.join("; ")}`);
}

/** A size or a count. */
export const positive = z.int().positive();

/** The largest head the attention kernel takes. */
const MAX_HEAD_DIM = 256;

/**
 * The dimensions of each of `heads` heads.
 * @param name what the configuration calls the number of heads
 * @throws {ModelError} they do not divide `hidden`, or are larger than attention takes
 */
export function headDimension(hidden: number, heads: number, name = "num_attention_heads"): number {
  if (hidden % heads !== 0) {
    throw new ModelError(`config.json: hidden_size ${hidden} is no multiple of ${name} ${heads}`);
  }
  return checkHeadDimension(hidden / heads);
}

/** `dimensions` of a head. @throws {ModelError} more than attention takes */
export function checkHeadDimension(dimensions: number): number {
  if (dimensions <= MAX_HEAD_DIM) return dimensions;
  throw new ModelError(`config.json: heads of ${dimensions} are not supported; at most ${MAX_HEAD_DIM}`);
}

/** Names transformers has for the activations there are. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: "relu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  silu: "silu",
  swish: "silu",
};

/** The activation transformers calls by the text. */
export const activationName = z.string().transform((name, context): Activation => {
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (activation) return activation;
  context.addIssue(`${name} is not supported; these are: ${Object.keys(ACTIVATIONS).join(", ")}`);
  return z.NEVER;
});
