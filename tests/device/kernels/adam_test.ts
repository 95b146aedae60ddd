/** Tests of adam: single steps, and a run of steps against the published algorithm in float64. */

import { strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { adam, adamCase, adamStep } from "../../../src/device/kernels/training/adam.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  adam,
  { tolerance: 1e-6 },
  [
    "changes only the first weights of a longer buffer, whatever their number",
    ...[1, 7, 256, 40_003].flatMap((count) => [0, 1].map((keeps) => adamCase(count, keeps))),
  ],
);

eachBackend("adam", (backend) => {
  it("follows Algorithm 1 of Kingma and Ba over ten steps, and leaves zeros at 0", async () => {
    const count = 37, rate = 0.01;
    const weight = signed(count, 1).map((value, i) => i % 3 ? value : 0);
    const expected = Float64Array.from(weight), m = new Float64Array(count), v = new Float64Array(count);
    let state = { weight, first: new Float32Array(count), second: new Float32Array(count) };
    for (let step = 1; step <= 10; step++) {
      const gradient = signed(count, 10 + step);
      for (let i = 0; i < count; i++) {
        m[i] = 0.9 * m[i] + 0.1 * gradient[i];
        v[i] = 0.999 * v[i] + 0.001 * gradient[i] ** 2;
        const change = m[i] / (1 - 0.9 ** step) / (Math.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8);
        if (i % 3) expected[i] -= rate * change;
      }
      const params = { count, keeps_zeros: 1, ...adamStep(rate, step) };
      state = await dispatchCase(
        backend(),
        adam as unknown as Kernel,
        { ...state, gradient },
        params,
      ) as unknown as typeof state;
    }
    assertClose(state.weight, expected, 1e-6);
    strictEqual(state.weight.every((value, i) => i % 3 !== 0 || value === 0), true);
  });
});
