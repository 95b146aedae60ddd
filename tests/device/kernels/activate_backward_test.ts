/** Tests of activate_backward and gate_backward for each activation function, and of clamped_gate_backward, with ordinary and extreme arguments. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  ACTIVATION_CODE,
  clampedGate,
  clampedGateCase,
} from "../../../src/device/kernels/forward/activate.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import {
  activateBackward,
  activateBackwardCase,
  clampedGateBackward,
  clampedGateBackwardCase,
  gateBackward,
  gateBackwardCase,
} from "../../../src/device/kernels/training/activate_backward.ts";
import { REFERENCE_ACTIVATIONS } from "../../reference/kernels/activate.ts";
import { REFERENCE_DERIVATIVES } from "../../reference/kernels/activate_backward.ts";
import { runReference } from "../../reference/run_reference.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [[1, 1], [7, 31], [33, 127], [129, 172], [1, 1000], [1000, 1], [3, 40001]];
/** Arguments at which exp overflows or underflows. */
const EXTREME = [0, -0, 1e-38, 20, 50, 88, 100, 1000, 1e10, -20, -50, -88, -100, -1000, -1e10];
const RANGE = Array.from({ length: 24001 }, (_, i) => (i - 12000) / 1000);
const ACTIVATIONS = Object.entries(ACTIVATION_CODE);

/** A case with the gradient 1, so that the result is the derivative. */
const derivatives = (activation: number, values: readonly number[]) => ({
  params: { count: values.length, activation },
  buffers: () => ({
    x: Float32Array.from(values),
    gradient: new Float32Array(values.length).fill(1),
  }),
  roundings: { gradient: 1 },
});

describe("the float64 derivatives of activation functions", () => {
  for (const [name, derivative] of Object.entries(REFERENCE_DERIVATIVES)) {
    it(`agree with the central differences of ${name}`, () => {
      const f = REFERENCE_ACTIVATIONS[name as keyof typeof REFERENCE_ACTIVATIONS], h = 1e-5;
      const points = RANGE.filter((x) => Math.abs(x) > h);
      const differences = points.map((x) => (f(x + h) - f(x - h)) / (2 * h));
      assertClose(points.map((x) => derivative(x)), differences, 1e-9);
    });
  }
});

testKernel(
  activateBackward,
  { tolerance: 1e-6, scaleOf: (expected) => Math.max(1, Math.abs(expected)) },
  ...ACTIVATIONS.flatMap(([name, code]) => [
    [
      `multiplies the first elements of a longer gradient by the derivative of ${name}`,
      ...[1, 7, 256, 40_003].map((count) => activateBackwardCase(count, code, 9)),
    ] as const,
    [`computes the derivative of ${name} from −12 to 12`, derivatives(code, RANGE)] as const,
    [
      `computes the derivative of ${name} where exp overflows or underflows`,
      derivatives(code, EXTREME),
    ] as const,
  ]),
);

describe("the reference of the gradient of the limited gate", () => {
  it("agrees with central differences on both sides of the limit", () => {
    const { params, buffers } = clampedGateCase(40, 9), h = 1e-5;
    const gate_up = Float64Array.from(buffers().gate_up), { count } = params;
    const valueAt = (index: number, change: number) => {
      const changed = gate_up.with(index, gate_up[index] + change);
      return runReference(clampedGate, { gate_up: changed, y: new Float64Array(count) }, params)
        .y[index >> 1];
    };
    const { target } = runReference(clampedGateBackward, {
      gate_up,
      gradient: new Float64Array(count).fill(1),
      target: new Float64Array(gate_up.length),
    }, params);
    const differences = Array.from(
      { length: 2 * count },
      (_, i) => (valueAt(i, h) - valueAt(i, -h)) / (2 * h),
    );
    assertClose(target.slice(0, 2 * count), differences, 1e-8, { scale: 1 });
    assert.ok(differences.includes(0) && differences.some((difference) => difference !== 0));
  });
});

testKernel(
  clampedGateBackward,
  { tolerance: 1e-6, scaleOf: (expected) => Math.max(1, Math.abs(expected)) },
  [
    "adds the gradients of the limited gate to neighbouring elements, whatever their number",
    ...[1, 7, 256, 40_003].map((count) => clampedGateBackwardCase(count, 9)),
  ],
);

const fused = gateBackwardCase(9, 21, ACTIVATION_CODE.silu, 3, 0);
testKernel(
  gateBackward,
  { tolerance: 1e-6 },
  ...ACTIVATIONS.flatMap(([name, code]) =>
    SIZES.map(([rows, cols]) =>
      [
        `adds the gradients of both factors of ${rows}×${cols} elements with the ${name} of a gate`,
        ...[0, 1].map((of_up) => gateBackwardCase(rows, cols, code, 9, of_up)),
      ] as const
    )
  ),
  [
    "accepts the gate and the other factor in one buffer, and changes only the columns of one of them",
    ...[0, 1].map((of_up) => ({
      ...fused,
      params: { ...fused.params, gate_offset: 0, ld_gate: 42, up_offset: 21, ld_up: 42, of_up },
      buffers: () => {
        const values = signed(9 * 42, 3);
        return { gate: values, up: values, gradient: signed(9 * 21, 4), target: signed(9 * 42, 5) };
      },
    })),
  ],
);
