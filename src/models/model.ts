/** A checkpoint understood: its weights with what the family says of them. */

import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ModelError } from "../files/model_error.ts";
import { readModelSpec } from "./families/families.ts";
import type { ModelSpec } from "./families/family.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";

/** A model that can be run. */
export interface Model {
  readonly spec: ModelSpec;
  readonly weights: TensorSource;
}

/** The model in a checkpoint. @throws {ModelError} its weights are packed, or its family or a setting is not supported */
export function openModel(checkpoint: Checkpoint): Model {
  if (checkpoint.config.quantization_config) {
    throw new ModelError(
      `${checkpoint.folder}: config.json has a quantization_config, so its weights are packed or quantised, and must ` +
        "be dense. `pare unpack` writes a dense copy of packed sparse weights; quantised ones are not supported",
    );
  }
  try {
    return { spec: readModelSpec(checkpoint.config, (name) => checkpoint.has(name)), weights: checkpoint };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(`${checkpoint.folder}: ${error.message}`, { cause: error });
  }
}
