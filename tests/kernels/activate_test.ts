/**
 * Tests of bias_activate and gated_multiply for each activation function, and of soft_cap. The arguments of
 * bias_activate and of soft_cap are ordinary and extreme.
 */

import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { ACTIVATION_CODE, biasActivate, gatedMultiply, softCap } from "../../src/kernels/forward/activate.ts";
import { REFERENCE_ACTIVATIONS } from "../reference/kernels/activate.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const ACTIVATIONS = ["none", "relu", "gelu_tanh", "gelu", "silu"] as const;
type Activation = (typeof ACTIVATIONS)[number];

const SIZES = [[1, 1], [7, 31], [33, 127], [129, 172], [1, 1000], [1000, 1], [3, 40001]];

async function activate(
  backend: Backend,
  values: Float32Array<ArrayBuffer>,
  cols: number,
  activation: Activation,
  biases?: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const x = upload(backend, values), bias = upload(backend, biases ?? Float32Array.of(NaN));
  backend.dispatch(biasActivate, { bias, x }, {
    rows: values.length / cols,
    cols,
    has_bias: biases ? 1 : 0,
    activation: ACTIVATION_CODE[activation],
  });
  const result = await downloadF32(backend, x);
  x.destroy();
  bias.destroy();
  return result;
}

/**
 * Asserts that each error is at most 1e-6. The error is absolute for expected values up to 1, and relative
 * for larger ones.
 */
function assertEachClose(actual: Float32Array, values: Float32Array, reference: (x: number) => number): void {
  const expected = Float64Array.from(values, reference);
  const scale = (i: number) => Math.max(1, Math.abs(expected[i]));
  assertClose(
    Float64Array.from(actual, (y, i) => y / scale(i)),
    expected.map((y, i) => y / scale(i)),
    1e-6,
    { scale: 1 },
  );
}

eachBackend("bias_activate", (backend) => {
  for (const activation of ACTIVATIONS) {
    const reference = REFERENCE_ACTIVATIONS[activation];

    for (const [rows, cols] of SIZES) {
      it(`adds a bias to a matrix of ${rows}×${cols} and applies ${activation}`, async () => {
        const values = normals(rows * cols, rows).map((x) => 3 * x), biases = normals(cols, cols);
        const expected = Float64Array.from(values, (x, i) => reference(x + biases[i % cols]));
        assertClose(await activate(backend(), values, cols, activation, biases), expected, 1e-6);
      });
    }

    it(`applies ${activation} to values from −12 to 12 without a bias`, async () => {
      const values = Float32Array.from({ length: 24001 }, (_, i) => (i - 12000) / 1000);
      assertEachClose(await activate(backend(), values, values.length, activation), values, reference);
    });

    it(`applies ${activation} to values at which exp overflows or underflows`, async () => {
      const values = Float32Array.of(
        0,
        -0,
        1e-38,
        20,
        50,
        88,
        100,
        1000,
        1e10,
        -20,
        -50,
        -88,
        -100,
        -1000,
        -1e10,
      );
      assertEachClose(await activate(backend(), values, values.length, activation), values, reference);
    });
  }
});

eachBackend("gated_multiply", (backend) => {
  for (const activation of ["silu", "gelu_tanh", "relu"] as const) {
    for (const [rows, cols] of SIZES) {
      it(`multiplies ${rows}×${cols} elements by the ${activation} of a gate, with padding after each row`, async () => {
        const ldGate = cols + 3, ldUp = cols + 5;
        const gates = normals(rows * ldGate, 1).map((x) => 3 * x), ups = normals(rows * ldUp + 2, 2);
        const gate = upload(backend(), gates), up = upload(backend(), ups);
        const y = backend().createBuffer("y", rows * cols * 4);
        backend().dispatch(gatedMultiply, { gate, up, y }, {
          rows,
          cols,
          gate_offset: 1,
          ld_gate: ldGate,
          up_offset: 4,
          ld_up: ldUp,
          activation: ACTIVATION_CODE[activation],
        });
        const expected = Float64Array.from({ length: rows * cols }, (_, i) => {
          const r = Math.floor(i / cols), c = i % cols;
          return REFERENCE_ACTIVATIONS[activation](gates[1 + r * ldGate + c]) * ups[4 + r * ldUp + c];
        });
        assertClose(await downloadF32(backend(), y), expected, 1e-6);
        for (const buffer of [gate, up, y]) buffer.destroy();
      });
    }
  }

  it("accepts the gate and the other factor in one buffer", async () => {
    const rows = 9, cols = 21, values = normals(rows * 2 * cols, 3);
    const fused = upload(backend(), values), y = backend().createBuffer("y", rows * cols * 4);
    const params = { rows, cols, gate_offset: 0, ld_gate: 2 * cols, up_offset: cols, ld_up: 2 * cols };
    const activation = ACTIVATION_CODE.silu;
    backend().dispatch(gatedMultiply, { gate: fused, up: fused, y }, { ...params, activation });
    const expected = Float64Array.from({ length: rows * cols }, (_, i) => {
      const at = Math.floor(i / cols) * 2 * cols + i % cols;
      return REFERENCE_ACTIVATIONS.silu(values[at]) * values[at + cols];
    });
    assertClose(await downloadF32(backend(), y), expected, 1e-6);
    fused.destroy();
    y.destroy();
  });
});

eachBackend("soft_cap", (backend) => {
  for (const cap of [0.5, 30, 50]) {
    it(`computes ${cap}·tanh(x/${cap}) with a relative error of at most 5e-7, from tiny to huge values`, async () => {
      const steps = Array.from({ length: 2001 }, (_, i) => (i - 1000) / 100);
      const values = Float32Array.of(...steps.map((x) => x * cap), 1e-30, -1e-8, 1e-3, 1e6, -1e30, 0);
      const x = upload(backend(), values);
      backend().dispatch(softCap, { x }, { count: values.length, cap });
      const actual = await downloadF32(backend(), x);
      x.destroy();
      const expected = Float64Array.from(values, (value) => cap * Math.tanh(value / cap));
      const relative = (y: number, i: number) => expected[i] === 0 ? y : y / expected[i];
      assertClose(Float64Array.from(actual, relative), expected.map(relative), 5e-7, { scale: 1 });
    });
  }

  it("changes only the first elements of a longer buffer, whatever their number", async () => {
    for (const count of [1, 7, 256, 40_003]) {
      const values = normals(count + 3, count), x = upload(backend(), values);
      backend().dispatch(softCap, { x }, { count, cap: 1 });
      const expected = Float64Array.from(values, (value, i) => i < count ? Math.tanh(value) : value);
      assertClose(await downloadF32(backend(), x), expected, 5e-7);
      x.destroy();
    }
  });
});
