/**
 * A model: the weights of a checkpoint, together with the description of the network that its model family,
 * such as OPT, declares.
 */

import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ModelError } from "../files/model_error.ts";
import { readModelSpec } from "./families/families.ts";
import type { ModelSpec } from "./families/family.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";

/** A model on which a forward pass can run. */
export interface Model {
  readonly spec: ModelSpec;
  readonly weights: TensorSource;
}

/**
 * Returns the model of a checkpoint.
 * @throws {ModelError} if the weights are packed or quantised, or if the family or a setting is not supported
 */
export function openModel(checkpoint: Checkpoint): Model {
  if (checkpoint.config.quantization_config) {
    throw new ModelError(
      `${checkpoint.folder}: config.json has a quantization_config, so its weights are packed or quantised, but must ` +
        "be dense. `pare unpack` writes a dense copy of packed sparse weights; quantised weights are not supported",
    );
  }
  try {
    return { spec: readModelSpec(checkpoint.config, (name) => checkpoint.has(name)), weights: checkpoint };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(`${checkpoint.folder}: ${error.message}`, { cause: error });
  }
}
