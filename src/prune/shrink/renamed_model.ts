/** A model without some of its tensors, in which the others have new names. */

import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import type { Model } from "../../model/model.ts";

export interface RenamedModel {
  readonly model: Model;
  readonly config: Readonly<Record<string, unknown>>;
  /** Returns the new name of a tensor, or undefined if the model does not have it. */
  nameOf(name: string): string | undefined;
}

/** @param oldNameOf returns the name that a tensor of the result has in `weights`, or undefined if there is no such tensor */
export function renamedSource(
  weights: TensorSource,
  oldNameOf: (name: string) => string | undefined,
): TensorSource {
  return {
    has(name) {
      const old = oldNameOf(name);
      return old !== undefined && weights.has(old);
    },
    info: (name) => weights.info(oldNameOf(name) ?? name),
    read: (name, offset, byteLength) => weights.read(oldNameOf(name) ?? name, offset, byteLength),
  };
}
