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

/** Records a linear layer. With the gradient G of y, x gets scale·G·W, W gets scale·Gᵀ·x, and b gets the sum of the rows of G. */
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
      // A strip has the weights of some outputs, (stripRows, inFeatures), or of some inputs of a transposed layer, (stripRows, outFeatures).
      const inputs = { buffer: saved.buffer, ld: inFeatures, offset: xOffset + (isTransposed ? row0 : 0) };
      const outputs = { buffer: gradient, ld: outFeatures, offset: isTransposed ? 0 : row0 };
      const [ofRows, ofCols] = isTransposed ? [inputs, outputs] : [outputs, inputs], cols = ofCols.ld;
      const weightGradient = tape.parameterGradient(weight);
      if (weightGradient) {
        const operands = { a: ofRows.buffer, b: ofCols.buffer, c: weightGradient };
        const sizes = { m: stripRows, n: cols, k: rows, c_offset: 0, ldc: cols };
        const places = { lda: ofRows.ld, a_offset: ofRows.offset, ldb: cols, b_offset: ofCols.offset };
        backend.dispatch(productTN, operands, { ...shared, ...sizes, ...places });
      }
      const [n, k] = isTransposed ? [stripRows, outFeatures] : [inFeatures, stripRows];
      const operands = { a: gradient, b: weight, c: xGradient };
      const places = { lda: outFeatures, a_offset: outputs.offset, ldb: cols, b_offset: 0 };
      const sizes = { m: rows, n, k, c_offset: inputs.offset, ldc: inFeatures };
      backend.dispatch(isTransposed ? productNT : productNN, operands, { ...shared, ...sizes, ...places });
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

/** Records y = activation(gate)·up. If all rows share one row of `up`, it gets no gradient. @param params as for `gatedMultiply` */
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
    if (params.ld_up === 0) return;
    backend.dispatch(gateBackward, { ...buffers, target: tape.gradient(up) }, { ...params, of_up: 1 });
  });
}

/** Records a limited gate. @param params as for `clampedGate` */
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
