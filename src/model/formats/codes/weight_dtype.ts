/** The dtypes of the dense weights for which a checkpoint stores codes. */

import type { FloatDtype } from "../../../tensor/dtype.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";

const DTYPES = new Map<unknown, FloatDtype>([["float32", "F32"], ["float16", "F16"], ["bfloat16", "BF16"]]);

/** Returns the dtype that config.json gives the model. Undefined if it names none of F32, F16 and BF16. */
export function modelDtype({ config: { dtype, torch_dtype: older } }: Checkpoint): FloatDtype | undefined {
  return DTYPES.get(dtype ?? older);
}

/**
 * Returns the dtype of a weight: the dtype of its scales if they have 16 bits, otherwise the dtype that config.json gives the
 * model, and BF16 if it gives none.
 */
export function weightDtype(checkpoint: Checkpoint, scale: string): FloatDtype {
  const { dtype } = checkpoint.info(scale);
  return dtype === "F16" || dtype === "BF16" ? dtype : modelDtype(checkpoint) ?? "BF16";
}
