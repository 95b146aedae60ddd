/** The backward passes of linear layers, their activation functions, and gates. */

import type { DeviceBuffer } from "../../device/backend.ts";
import {
  ACTIVATION_CODE,
  type clampedGate,
  type gatedMultiply,
} from "../../device/kernels/forward/activate.ts";
import { gemmTN } from "../../device/kernels/gemm.ts";
import { productNN, productNT, productTN } from "../../device/kernels/product.ts";
import {
  activateBackward,
  clampedGateBackward,
  gateBackward,
} from "../../device/kernels/training/activate_backward.ts";
import type { DeviceLinear } from "../device_weights.ts";
import type { LinearSpec } from "../layer_specs.ts";
import type { Activation } from "./block_pass.ts";
import type { Tape } from "./tape.ts";

/** The product y = scale·x·Wᵀ + b of rows `firstRow` … `firstRow + rows − 1` of x. */
interface LinearProduct {
  readonly x: DeviceBuffer;
  readonly firstRow: number;
  readonly rows: number;
  readonly y: DeviceBuffer;
  readonly scale: number;
}

/**
 * Records a linear layer. With the gradient G of y, the gradient of x is scale·G·W, that of W is scale·Gᵀ·x, and that of b is the sum of
 * the rows of G.
 */
export function recordLinear(
  tape: Tape,
  { strips, bias }: DeviceLinear,
  { inFeatures, outFeatures, isTransposed }: LinearSpec,
  { x, firstRow, rows, y, scale }: LinearProduct,
): void {
  const { backend } = tape, saved = tape.save(x), xOffset = firstRow * inFeatures;
  tape.record(y, (gradient) => {
    const biasGradient = bias && tape.parameterGradient(bias);
    if (biasGradient) addColumnSums(tape, gradient, rows, outFeatures, biasGradient);
    const shared = { alpha: scale, beta: 1, upper: 0 }, xGradient = tape.gradient(x);
    for (const { buffer: weight, row0, rows: stripRows } of strips) {
      const weightGradient = tape.parameterGradient(weight);
      if (isTransposed) {
        // The strip has the weights of some inputs, (stripRows, outFeatures).
        const inputs = { lda: inFeatures, a_offset: xOffset + row0 },
          outputs = { ldb: outFeatures, b_offset: 0 };
        if (weightGradient) {
          const sizes = { m: stripRows, n: outFeatures, k: rows, c_offset: 0, ldc: outFeatures };
          const operands = { a: saved.buffer, b: gradient, c: weightGradient };
          backend.dispatch(productTN, operands, { ...shared, ...sizes, ...inputs, ...outputs });
        }
        const sizes = { m: rows, n: stripRows, k: outFeatures, a_offset: 0, lda: outFeatures };
        const target = { c_offset: xOffset + row0, ldc: inFeatures };
        const operands = { a: gradient, b: weight, c: xGradient };
        backend.dispatch(productNT, operands, { ...shared, ...sizes, ...outputs, ...target });
      } else {
        // The strip has the weights of some outputs, (stripRows, inFeatures).
        const outputs = { lda: outFeatures, a_offset: row0 };
        if (weightGradient) {
          const sizes = { m: stripRows, n: inFeatures, k: rows, ldb: inFeatures, b_offset: xOffset };
          const operands = { a: gradient, b: saved.buffer, c: weightGradient };
          const target = { c_offset: 0, ldc: inFeatures };
          backend.dispatch(productTN, operands, { ...shared, ...sizes, ...outputs, ...target });
        }
        const sizes = { m: rows, n: inFeatures, k: stripRows, ldb: inFeatures, b_offset: 0 };
        const operands = { a: gradient, b: weight, c: xGradient };
        const target = { c_offset: xOffset, ldc: inFeatures };
        backend.dispatch(productNN, operands, { ...shared, ...sizes, ...outputs, ...target });
      }
    }
  });
}

/** Queues sums += the sums of the columns of `x`, (rows, cols) f32. */
export function addColumnSums(
  tape: Tape,
  x: DeviceBuffer,
  rows: number,
  cols: number,
  sums: DeviceBuffer,
): void {
  const sizes = { m: 1, n: cols, k: rows, lda: 1, ldb: cols, ldc: cols };
  const params = { ...sizes, a_offset: 0, b_offset: 0, c_offset: 0, alpha: 1, beta: 1, upper: 0 };
  tape.backend.dispatch(gemmTN, { a: tape.workspace.ones(rows), b: x, c: sums }, params);
}

/** Records that an activation function is applied to the `count` elements of `y` in place. Must be called before it is queued. */
export function recordActivation(tape: Tape, y: DeviceBuffer, count: number, activation: Activation): void {
  const saved = tape.save(y), params = { count, activation: ACTIVATION_CODE[activation] };
  tape.beforeChange(y);
  tape.record(
    y,
    (gradient) => tape.backend.dispatch(activateBackward, { x: saved.buffer, gradient }, params),
  );
}

/** Records y = activation(gate)·up. @param params those of `gatedMultiply` */
export function recordGate(
  tape: Tape,
  gate: DeviceBuffer,
  up: DeviceBuffer,
  y: DeviceBuffer,
  params: Parameters<typeof gatedMultiply.shader.grid>[0],
): void {
  const { backend } = tape, savedGate = tape.save(gate), savedUp = tape.save(up);
  tape.record(y, (gradient) => {
    const buffers = { gate: savedGate.buffer, up: savedUp.buffer, gradient };
    backend.dispatch(gateBackward, { ...buffers, target: tape.gradient(gate) }, { ...params, of_up: 0 });
    backend.dispatch(gateBackward, { ...buffers, target: tape.gradient(up) }, { ...params, of_up: 1 });
  });
}

/** Records a limited gate. @param params those of `clampedGate` */
export function recordClampedGate(
  tape: Tape,
  gateUp: DeviceBuffer,
  y: DeviceBuffer,
  params: Parameters<typeof clampedGate.shader.grid>[0],
): void {
  const saved = tape.save(gateUp);
  tape.record(y, (gradient) => {
    const buffers = { gate_up: saved.buffer, gradient, target: tape.gradient(gateUp) };
    tape.backend.dispatch(clampedGateBackward, buffers, params);
  });
}
