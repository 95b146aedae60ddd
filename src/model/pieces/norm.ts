/** LayerNorm and RMSNorm, applied to each row of an activation. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { layerNorm, rmsNorm } from "../../device/kernels/forward/normalize.ts";
import { normBackward } from "../../device/kernels/training/norm_backward.ts";
import type { DeviceNorm } from "../device_weights.ts";
import type { NormSpec } from "../layer_specs.ts";
import type { BlockPass } from "./block_pass.ts";
import { addColumnSums } from "./linear_backward.ts";
import type { Tape } from "./tape.ts";

type Pass = Pick<BlockPass, "backend" | "weights" | "workspace" | "rows" | "tape">;

/**
 * Queues the norm `spec` on `x`, (rows, size) f32.
 * @param rows the number of rows of `x`. If the norm is applied to each head, `x` has one row per head of each token
 * @returns (rows, size) f32, valid until the same norm is queued again
 */
export function normalize(pass: Pass, spec: NormSpec, x: DeviceBuffer, rows = pass.rows): DeviceBuffer {
  const { backend, workspace, weights, tape } = pass;
  const y = workspace.buffer(spec.name, rows * spec.size);
  const { weight, bias } = weights.norm(spec);
  const params = { rows, cols: spec.size, eps: spec.eps };
  if (bias) backend.dispatch(layerNorm, { x, weight, bias, y }, params);
  else backend.dispatch(rmsNorm, { x, weight, y }, params);
  if (tape) recordNorm(tape, weights.norm(spec), x, y, params);
  return y;
}

/** Queues the norm `spec` on `x`, (rows, size) f32, and writes the result to `x`. */
export function normalizeInPlace(pass: Pass, spec: NormSpec, x: DeviceBuffer): void {
  const y = normalize(pass, spec, x);
  pass.tape?.recordCopy(y, x);
  pass.backend.copy(y, 0, x, 0, pass.rows * spec.size * 4);
}

/** Records y = norm(x). @param params as for `rmsNorm` and `layerNorm` */
function recordNorm(
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
