/** The backward passes of the activation functions and of the gates of a model (`forward/activate.ts`). */

import { activationCases, clampedGateCase, spread } from "../forward/activate.ts";
import { defineKernel, linearGrid, u32 } from "../kernel.ts";
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
  params: u32("count", "activation"),
  shader: { code, grid: (p) => linearGrid(p.count, 256) },
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
  params: u32("rows", "cols", "gate_offset", "ld_gate", "up_offset", "ld_up", "activation", "of_up"),
  shader: { code, grid: (p) => linearGrid(p.rows * p.cols, 256) },
  cases: () =>
    [0, 1].flatMap((of_up) =>
      activationCases((code, range) => gateBackwardCase(29, 71, code, range, of_up)).map((one) => ({
        ...one,
        feature: `${one.feature}, of the ${of_up ? "other factor" : "gate"}`,
      }))
    ),
});

/**
 * The backward pass of `clampedGate`. For i < count, adds to target[2i] and to target[2i + 1] the gradient gradient[i] of
 * y[i], times the derivative of y[i] with respect to the same element of `gate_up`. The derivative is 0 where an element is
 * beyond the limit.
 */
export const clampedGateBackward = defineKernel({
  name: "clamped_gate_backward",
  bindings: { gate_up: "read", gradient: "read", target: "read_write" },
  params: { count: "u32", alpha: "f32", limit: "f32" },
  shader: { code, grid: (p) => linearGrid(p.count, 256) },
  cases: () =>
    [3, 30].map((range) => ({ feature: `range ${range}`, ...clampedGateBackwardCase(601, range) })),
});

/** A case of `count` elements of y, some of which the limit changes if `range` is large. */
export function clampedGateBackwardCase(count: number, range: number) {
  const { params, buffers } = clampedGateCase(count, range);
  return {
    params,
    buffers: () => {
      const { gate_up, y } = buffers();
      return { gate_up, gradient: signed(y.length, 816), target: signed(gate_up.length, 817) };
    },
    roundings: { target: EXPONENTIAL },
  };
}

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
