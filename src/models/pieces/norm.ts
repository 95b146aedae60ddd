/** Row normalisation. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { layerNorm } from "../../kernels/normalize.ts";
import type { NormSpec } from "../families/family.ts";
import type { BlockPass } from "./block_pass.ts";

/**
 * Queues the norm `spec` on `x`, (rows, size) f32.
 * @returns (rows, size) f32, valid until the norm runs again
 */
export function normalize(
  { backend, weights, workspace, rows }: Pick<BlockPass, "backend" | "weights" | "workspace" | "rows">,
  spec: NormSpec,
  x: DeviceBuffer,
): DeviceBuffer {
  const y = workspace.take(spec.name, rows * spec.size);
  const { weight, bias } = weights.norm(spec);
  backend.dispatch(layerNorm, { x, weight, bias, y }, { rows, cols: spec.size, eps: spec.eps });
  return y;
}
