/** Checks the header of a body with tensors of a checkpoint, before any of its data is read. */

import { firstItems } from "../../base/texts.ts";
import { tensorMismatch } from "../../layer/errors.ts";
import type { NamedShape } from "../../model/families/check_tensors.ts";
import { isFloatDtype, sameShape } from "../../tensor/dtype.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";

/** The most bytes of a header. A block with a thousand experts takes two MB, with the parameters of its layers. */
export const MAX_BLOCK_HEADER_BYTES = 2 ** 22;

/**
 * Checks that there are all tensors of `required`, and no others except tensors of `optional`. Checks their shapes, and that
 * their dtypes are floats.
 * @throws {Refusal} `shape_mismatch`, naming the first tensor that disagrees
 */
export function checkCheckpointTensors(
  tensors: readonly TensorInfo[],
  required: readonly NamedShape[],
  optional: readonly NamedShape[] = [],
): void {
  const shapes = new Map([...required, ...optional]), names = new Set(tensors.map(({ name }) => name));
  for (const { name, dtype, shape } of tensors) {
    const wanted = shapes.get(name);
    if (!wanted) {
      throw tensorMismatch(name, "no tensor of this name", `${dtype} [${firstItems(shape)}]`);
    }
    if (isFloatDtype(dtype) && sameShape(shape, wanted)) continue;
    throw tensorMismatch(name, `F32, F16 or BF16 [${wanted}]`, `${dtype} [${firstItems(shape)}]`);
  }
  const missing = required.find(([name]) => !names.has(name));
  if (missing) throw tensorMismatch(missing[0], `a tensor [${missing[1]}]`, "none");
}
