/** Linear layers. A layer with weights W and bias b computes y = activation(x·Wᵀ + b) from its inputs x. */

import type { DeviceBuffer } from "../../device/backend.ts";
import {
  ACTIVATION_CODE,
  biasActivate,
  clampedGate,
  gatedMultiply,
} from "../../device/kernels/forward/activate.ts";
import { gemmNN } from "../../device/kernels/gemm.ts";
import { productNT } from "../../device/kernels/product.ts";
import { type LinearGroup, type LinearSpec, roleOf } from "../layer_specs.ts";
import type { Activation, BlockPass } from "./block_pass.ts";
import { recordActivation, recordClampedGate, recordGate, recordLinear } from "./linear_backward.ts";
import type { ColumnsView } from "./columns_view.ts";

/**
 * Queues every layer of `group` on its input `x`, (rows, inFeatures) f32, after passing `x` to `pass.observeInput`.
 * @returns one buffer per layer, (rows, outFeatures) f32, in the order of the group. A buffer is valid until its layer, or another layer
 * with the same role, runs again
 */
export function applyGroup(
  pass: BlockPass,
  group: LinearGroup,
  x: DeviceBuffer,
  activation: Activation = "none",
): DeviceBuffer[] {
  pass.observeInput?.(group, x, pass.rows);
  return group.map((spec) => {
    const y = pass.workspace.buffer(roleOf(spec), pass.rows * spec.outFeatures);
    applyLinear(pass, spec, x, 0, pass.rows, y, { activation });
    return y;
  });
}

export interface OutputOptions {
  readonly activation?: Activation;
  /** Whether the outputs are added to the contents of `y`. This is only allowed without an activation. */
  readonly accumulate?: boolean;
  /** The factor of x·Wᵀ. The bias is not multiplied. Defaults to 1. */
  readonly scale?: number;
}

/**
 * Queues one layer on rows `firstRow` … `firstRow + rows − 1` of `x`, and writes the outputs to `y`.
 * @param x (at least firstRow + rows, inFeatures) f32
 * @param y (rows, outFeatures) f32
 */
export function applyLinear(
  pass: Pick<BlockPass, "backend" | "weights" | "workspace" | "tape">,
  spec: LinearSpec,
  x: DeviceBuffer,
  firstRow: number,
  rows: number,
  y: DeviceBuffer,
  { activation = "none", accumulate = false, scale = 1 }: OutputOptions = {},
): void {
  const { backend, weights, tape } = pass, { inFeatures, outFeatures } = spec;
  const { strips, bias } = weights.linear(spec);
  if (accumulate) tape?.beforeChange(y);
  const shared = { m: rows, lda: inFeatures, b_offset: 0, ldc: outFeatures, alpha: scale, upper: 0 };
  const a_offset = firstRow * inFeatures;
  for (const [index, { buffer, row0, rows: stripRows }] of strips.entries()) {
    const operands = { a: x, b: buffer, c: y };
    if (spec.isTransposed) {
      // Each strip has the weights of some inputs, so the products of all strips are added up.
      const beta = accumulate || index > 0 ? 1 : 0;
      const sizes = {
        n: outFeatures,
        k: stripRows,
        a_offset: a_offset + row0,
        ldb: outFeatures,
        c_offset: 0,
      };
      backend.dispatch(gemmNN, operands, { ...shared, ...sizes, beta });
    } else {
      // Each strip has the weights of some outputs.
      const sizes = { n: stripRows, k: inFeatures, a_offset, ldb: inFeatures, c_offset: row0 };
      backend.dispatch(productNT, operands, { ...shared, ...sizes, beta: accumulate ? 1 : 0 });
    }
  }
  if (tape) recordLinear(tape, weights.linear(spec), spec, { x, firstRow, rows, y, scale });
  addBiasAndActivate(pass, y, rows, outFeatures, bias, activation);
}

/** Queues y ← activation(y + bias), where `y` is (rows, cols) f32. The bias gets no gradient. */
export function addBiasAndActivate(
  { backend, workspace, tape }: Pick<BlockPass, "backend" | "workspace" | "tape">,
  y: DeviceBuffer,
  rows: number,
  cols: number,
  bias: DeviceBuffer | undefined,
  activation: Activation,
): void {
  const activate = (bias: DeviceBuffer | undefined, activation: Activation) => {
    if (!bias && activation === "none") return;
    backend.dispatch(biasActivate, { bias: bias ?? workspace.placeholder, x: y }, {
      rows,
      cols,
      has_bias: bias ? 1 : 0,
      activation: ACTIVATION_CODE[activation],
    });
  };
  if (tape && activation !== "none") {
    // The backward pass needs the outputs before the activation function, so the bias is added first.
    activate(bias, "none");
    recordActivation(tape, y, rows * cols, activation);
    activate(undefined, activation);
  } else {
    activate(bias, activation);
  }
}

/**
 * Queues activation(gate)·up, element by element.
 * @param columns the number of columns of `gate`, `up` and the result
 * @returns (rows, columns) f32, valid until a gate is queued again
 */
export function applyGate(
  { backend, workspace, rows, tape }: BlockPass,
  gate: ColumnsView,
  up: ColumnsView,
  columns: number,
  activation: Activation,
): DeviceBuffer {
  const y = workspace.buffer("gated", rows * columns);
  const params = {
    rows,
    cols: columns,
    gate_offset: gate.offset,
    ld_gate: gate.ld,
    up_offset: up.offset,
    ld_up: up.ld,
    activation: ACTIVATION_CODE[activation],
  };
  backend.dispatch(gatedMultiply, { gate: gate.buffer, up: up.buffer, y }, params);
  if (tape) recordGate(tape, gate.buffer, up.buffer, y, params);
  return y;
}

/** The numbers of the gate (clamp(up, −limit, limit) + 1)·g·σ(alpha·g), where g = min(gate, limit), and σ is the logistic function. */
export interface ClampedGate {
  readonly alpha: number;
  readonly limit: number;
}

/**
 * Queues a limited gate, element by element. Each element of the result has its gate and its `up` side by side in `gateUp`, (rows, 2 ·
 * columns) f32.
 * @returns (rows, columns) f32, valid until a gate is queued again
 */
export function applyClampedGate(
  { backend, workspace, rows, tape }: BlockPass,
  gateUp: DeviceBuffer,
  columns: number,
  gate: ClampedGate,
): DeviceBuffer {
  const y = workspace.buffer("gated", rows * columns), params = { count: rows * columns, ...gate };
  backend.dispatch(clampedGate, { gate_up: gateUp, y }, params);
  if (tape) recordClampedGate(tape, gateUp, y, params);
  return y;
}
