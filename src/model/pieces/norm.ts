/** LayerNorm and RMSNorm, applied to each row of an activation. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { layerNorm, rmsNorm } from "../../device/kernels/forward/normalize.ts";
import type { NormSpec } from "../layer_specs.ts";
import { recordNorm } from "./backward/norm_backward.ts";
import type { BlockPass } from "./block_pass.ts";

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
