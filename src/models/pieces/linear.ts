/** Linear layers: y = activation(x·Wᵀ + b), written to new memory or added to the residual stream. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { ACTIVATION_CODE, biasActivate } from "../../kernels/activate.ts";
import { gemmNT } from "../../kernels/gemm.ts";
import type { LinearGroup, LinearSpec } from "../families/layer_specs.ts";
import type { Activation, BlockPass } from "./block_pass.ts";

/**
 * Queues every layer of `group` on `x`, (rows, inFeatures) f32, and passes `x` to the tap.
 * @returns (rows, outFeatures) f32 per layer, in order, valid until the layer runs again
 */
export function project(
  pass: BlockPass,
  group: LinearGroup,
  x: DeviceBuffer,
  activation: Activation = "none",
): DeviceBuffer[] {
  pass.tap?.(group, x, pass.rows);
  return group.map((spec) => {
    const y = pass.workspace.take(spec.name, pass.rows * spec.outFeatures);
    applyLinear(pass, spec, x, 0, pass.rows, y, { activation });
    return y;
  });
}

/**
 * Queues stream += x·Wᵀ + b for the only layer of `group`, with x (rows, inFeatures) and stream (rows, outFeatures) f32, and passes `x`
 * to the tap. If the outputs of the group are not used, only the tap is called.
 */
export function projectOnto(
  pass: BlockPass,
  group: LinearGroup,
  x: DeviceBuffer,
  stream: DeviceBuffer,
): void {
  pass.tap?.(group, x, pass.rows);
  if (group === pass.unused) return;
  applyLinear(pass, group[0], x, 0, pass.rows, stream, { accumulate: true });
}

/** What is done with the outputs of a layer. */
export interface Outputs {
  /** The activation. Defaults to none. */
  readonly activation?: Activation;
  /** Adds the outputs to the contents of the target. Only allowed without an activation. */
  readonly accumulate?: boolean;
}

/** Queues one layer on `rows` rows of `x`, starting at `firstRow`, and writes the result to `y`, (rows, outFeatures). */
export function applyLinear(
  { backend, weights, workspace }: Pick<BlockPass, "backend" | "weights" | "workspace">,
  spec: LinearSpec,
  x: DeviceBuffer,
  firstRow: number,
  rows: number,
  y: DeviceBuffer,
  { activation = "none", accumulate = false }: Outputs = {},
): void {
  const { strips, bias } = weights.linear(spec);
  for (const strip of strips) {
    backend.dispatch(gemmNT, { a: x, b: strip.buffer, c: y }, {
      m: rows,
      n: strip.rows,
      k: spec.inFeatures,
      a_offset: firstRow * spec.inFeatures,
      lda: spec.inFeatures,
      b_offset: 0,
      ldb: spec.inFeatures,
      c_offset: strip.row0,
      ldc: spec.outFeatures,
      alpha: 1,
      beta: accumulate ? 1 : 0,
      upper: 0,
    });
  }
  if (!bias && activation === "none") return;
  backend.dispatch(biasActivate, { bias: bias ?? workspace.unused, x: y }, {
    rows,
    cols: spec.outFeatures,
    has_bias: bias ? 1 : 0,
    activation: ACTIVATION_CODE[activation],
  });
}
