/** The backward passes of LayerNorm and RMSNorm. */

import type { DeviceBuffer } from "../../../device/backend.ts";
import type { rmsNorm } from "../../../device/kernels/forward/normalize.ts";
import { normBackward } from "../../../device/kernels/training/norm_backward.ts";
import type { DeviceNorm } from "../../device_weights.ts";
import type { Tape } from "../tape.ts";
import { addColumnSums } from "./linear_backward.ts";

/** Records y = norm(x). @param params those of `rmsNorm` and `layerNorm` */
export function recordNorm(
  tape: Tape,
  { weight, bias }: DeviceNorm,
  x: DeviceBuffer,
  y: DeviceBuffer,
  params: Parameters<typeof rmsNorm.shader.grid>[0],
): void {
  const saved = tape.save(x), { rows, cols } = params;
  tape.record(y, (gradient) => {
    const biasGradient = bias && tape.parameterGradient(bias),
      weightGradient = tape.parameterGradient(weight);
    if (biasGradient) addColumnSums(tape, gradient, rows, cols, biasGradient);
    const buffers = { x: saved.buffer, weight, gradient, x_gradient: tape.gradient(x) };
    tape.backend.dispatch(normBackward, buffers, { ...params, is_centered: bias ? 1 : 0 });
    // The kernel has replaced the gradient of y by its product with the normalised rows.
    if (weightGradient) addColumnSums(tape, gradient, rows, cols, weightGradient);
  });
}
