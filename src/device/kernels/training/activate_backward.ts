/** The backward passes of the activation functions and of the gates of a model (`forward/activate.ts`). */

import { activationCases, spread } from "../forward/activate.ts";
import { defineKernel, linearGrid } from "../kernel.ts";
import { EXPONENTIAL, signed } from "../kernel_case.ts";
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import gradientCode from "../../../../shaders/activate_backward.wgsl" with { type: "text" };

const code = linear + activation + gradientCode;

/**
 * In place, for i < count: gradient[i] ← gradient[i]·activation′(x[i]). `activation` is a value of ACTIVATION_CODE. The
 * derivative of relu at 0 is 0.
 */
export const activateBackward = defineKernel({
  name: "activate_backward",
  bindings: { x: "read", gradient: "read_write" },
  params: { count: "u32", activation: "u32" },
  shader: { code, entryPoint: "activate_backward", grid: (p) => linearGrid(p.count, 256) },
  cases: () => activationCases((code, range) => activateBackwardCase(601, code, range)),
});

/**
 * The backward pass of `gatedMultiply`, whose result is y = activation(gate)·up. For r < rows and c < cols, adds to an
 * element of `target` the gradient g = gradient[r·cols + c] of the same element of y, times the derivative of y. With
 * `of_up` = 1, the element of target is up_offset + r·ld_up + c, and the derivative is activation(gate). With `of_up` =
 * 0, the element of target is gate_offset + r·ld_gate + c, and the derivative is activation′(gate)·up. So `target` has
 * the layout of the buffer of `up` or of `gate`.
 */
export const gateBackward = defineKernel({
  name: "gate_backward",
  bindings: { gate: "read", up: "read", gradient: "read", target: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    gate_offset: "u32",
    ld_gate: "u32",
    up_offset: "u32",
    ld_up: "u32",
    activation: "u32",
    of_up: "u32",
  },
  shader: { code, entryPoint: "gate_backward", grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () =>
    [0, 1].flatMap((of_up) =>
      activationCases((code, range) => gateBackwardCase(29, 71, code, range, of_up)).map((one) => ({
        ...one,
        feature: `${one.feature}, of the ${of_up ? "other factor" : "gate"}`,
      }))
    ),
});

/** A case that changes the first `count` elements of a longer buffer. */
export function activateBackwardCase(count: number, activation: number, range: number) {
  return {
    params: { count, activation },
    buffers: () => ({ x: spread(count + 6, 800 + activation, range), gradient: signed(count + 6, 806) }),
    roundings: { gradient: EXPONENTIAL },
  };
}

/** A case whose gate and other factor have padding of their own. */
export function gateBackwardCase(
  rows: number,
  cols: number,
  activation: number,
  range: number,
  of_up: number,
) {
  const ld_gate = cols + 6, ld_up = cols + 8, gateSize = 3 + rows * ld_gate, upSize = 2 + rows * ld_up;
  return {
    params: { rows, cols, gate_offset: 3, ld_gate, up_offset: 2, ld_up, activation, of_up },
    buffers: () => ({
      gate: spread(gateSize, 807 + activation, range),
      up: signed(upSize, 813),
      gradient: signed(rows * cols, 814),
      target: signed(of_up ? upSize : gateSize, 815),
    }),
    roundings: { target: EXPONENTIAL },
  };
}
