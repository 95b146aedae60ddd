/** Reads config.json with the schema of a family, and checks the settings that families share. */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import type { Activation } from "../pieces/block_pass.ts";

/** Returns the settings in `schema` and ignores others. @throws {ModelError} naming every setting that is missing or malformed */
export function readConfig<T>(schema: z.ZodType<T>, config: Readonly<Record<string, unknown>>): T {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new ModelError(`config.json: ${faults.join("; ")}`);
}

/** The schema of a size or a count. */
export const positive = z.int().positive();

/** The largest head that the attention kernel supports. */
const MAX_HEAD_DIM = 256;

/**
 * Returns the dimensions of each head.
 * @param name the name of the number of heads in the configuration
 * @throws {ModelError} if `heads` does not divide `hidden`, or if the heads are too large for attention
 */
export function headDimension(hidden: number, heads: number, name = "num_attention_heads"): number {
  if (hidden % heads !== 0) {
    throw new ModelError(`config.json: hidden_size ${hidden} is not a multiple of ${name} ${heads}`);
  }
  return checkHeadDimension(hidden / heads);
}

/** Returns `dimensions`. @throws {ModelError} if a head of that size is too large for attention */
export function checkHeadDimension(dimensions: number): number {
  if (dimensions <= MAX_HEAD_DIM) return dimensions;
  throw new ModelError(
    `config.json: heads of ${dimensions} dimensions are not supported, at most ${MAX_HEAD_DIM} are`,
  );
}

/** The supported activations by their names in transformers. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: "relu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  silu: "silu",
  swish: "silu",
};

/** The schema of an activation: its name in transformers becomes the activation. */
export const activationName = z.string().transform((name, context): Activation => {
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (activation) return activation;
  context.addIssue(`${name} is not supported; supported are: ${Object.keys(ACTIVATIONS).join(", ")}`);
  return z.NEVER;
});
