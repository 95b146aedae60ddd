/** Tests of bias_activate and gated_multiply for each activation function, of clamped_gate and of soft_cap, with ordinary and extreme arguments. */

import {
  ACTIVATION_CODE,
  biasActivate,
  biasActivateCase,
  clampedGate,
  clampedGateCase,
  gatedMultiply,
  gatedMultiplyCase,
  softCap,
  softCapCase,
} from "../../../src/device/kernels/forward/activate.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [[1, 1], [7, 31], [33, 127], [129, 172], [1, 1000], [1000, 1], [3, 40001]];
/** Arguments at which exp overflows or underflows. */
const EXTREME = [0, -0, 1e-38, 20, 50, 88, 100, 1000, 1e10, -20, -50, -88, -100, -1000, -1e10];
const RANGE = Array.from({ length: 24001 }, (_, i) => (i - 12000) / 1000);

/** A case without a bias, whose buffer has a NaN. */
const withoutBias = (activation: number, values: readonly number[]) => ({
  params: { rows: 1, cols: values.length, has_bias: 0, activation },
  buffers: () => ({ bias: Float32Array.of(NaN), x: Float32Array.from(values) }),
  roundings: { x: 1 },
});

testKernel(
  biasActivate,
  { tolerance: 1e-6, scaleOf: (expected) => Math.max(1, Math.abs(expected)) },
  ...Object.entries(ACTIVATION_CODE).flatMap(([name, code]) => [
    ...SIZES.map(([rows, cols]) =>
      [
        `adds a bias to a matrix of ${rows}×${cols} and applies ${name}`,
        biasActivateCase(rows, cols, code, 9),
      ] as const
    ),
    [`applies ${name} to values from −12 to 12 without a bias`, withoutBias(code, RANGE)] as const,
    [`applies ${name} to values at which exp overflows or underflows`, withoutBias(code, EXTREME)] as const,
  ]),
);

const fused = gatedMultiplyCase(9, 21, ACTIVATION_CODE.silu, 3);
testKernel(
  gatedMultiply,
  { tolerance: 1e-6 },
  ...(["silu", "gelu_tanh", "relu"] as const).flatMap((activation) =>
    SIZES.map(([rows, cols]) =>
      [
        `multiplies ${rows}×${cols} elements by the ${activation} of a gate, with padding after each row`,
        gatedMultiplyCase(rows, cols, ACTIVATION_CODE[activation], 9),
      ] as const
    )
  ),
  ["accepts the gate and the other factor in one buffer", {
    ...fused,
    params: { ...fused.params, gate_offset: 0, ld_gate: 42, up_offset: 21, ld_up: 42 },
    buffers: () => {
      const values = signed(9 * 42, 3);
      return { gate: values, up: values, y: new Float32Array(9 * 21) };
    },
  }],
);

testKernel(
  clampedGate,
  { tolerance: 1e-6, scaleOf: (expected) => Math.max(1, Math.abs(expected)) },
  [
    "computes the limited gate of neighbouring elements, whatever their number",
    ...[1, 7, 256, 40_003].map((count) => clampedGateCase(count, 9)),
  ],
  ["does not overflow for huge values", clampedGateCase(601, 1e30)],
);

testKernel(
  softCap,
  { tolerance: 5e-7, scaleOf: (expected) => Math.abs(expected) || 1 },
  ...[0.5, 30, 50].map((cap) => {
    const x = Array.from({ length: 2001 }, (_, i) => (i - 1000) / 100 * cap);
    const values = Float32Array.of(...x, 1e-30, -1e-8, 1e-3, 1e6, -1e30, 0);
    return [`computes ${cap}·tanh(x/${cap}) from tiny to huge values`, {
      params: { count: values.length, cap },
      buffers: () => ({ x: values }),
      roundings: { x: 1 },
    }] as const;
  }),
  [
    "changes only the first elements of a longer buffer, whatever their number",
    ...[1, 7, 256, 40_003].map((count) => softCapCase(count, 1, 3)),
  ],
);
