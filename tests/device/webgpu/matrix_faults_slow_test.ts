/** Tests that the self-check refuses faults in the shader for matrix units. The units are replaced by loops. */

import { deepStrictEqual, ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { shaderFaults } from "../../../scripts/self_check/faults/wgsl_faults.ts";
import { withDispatch } from "../../../scripts/self_check/faults/with_dispatch.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { MATRIX_VARIANT, productNN, productNT, productTN } from "../../../src/device/kernels/product.ts";
import { ALL_CASES } from "../../../src/host/self_check/cases.ts";
import { selfCheck, SelfCheckError } from "../../../src/host/self_check/self_check.ts";
import { withoutMatrixUnits } from "../../support/matrix_shim.ts";
import { webgpuSuite } from "./suite.ts";

const KERNELS: readonly Kernel[] = [productNN, productNT, productTN];

/** The shader of both kernels. */
const MATRIX = productNT.variants![MATRIX_VARIANT];

/** Changes of the shader that are not faults, by the line and the change, with the reason. */
const HARMLESS: Readonly<Record<string, string>> = {
  "if i >= params.m || p >= params.k { return 0.0; } | 0.0 → 0.01":
    "beyond the edge, the element of the other operand is 0 or the product is outside of C",
  "if j >= params.n || p >= params.k { return 0.0; } | 0.0 → 0.01":
    "beyond the edge, the element of the other operand is 0 or the product is outside of C",
  "var a_largest = 0.0; | 0.0 → 0.01": "the largest magnitude of every row is above 0.01",
  "var b_largest = 0.0; | 0.0 → 0.01": "the largest magnitude of every column is above 0.01",
  "for (var p = start; p < end; p++) { | p < end → (p + 1) < end":
    "the scales leave room for elements up to 256 times larger",
  "return bitcast<f32>((bitcast<u32>(x) + 0x1000u) & 0xffffe000u); | 0x1000u → 0x800":
    "an element that is rounded in the other direction has another low part",
  "workgroupBarrier(); | a_unscale[local] = unscale_of(a_exponent);":
    "the invocations of this adapter do not run ahead of each other here; on a GPU, a subgroup may still read the scales",
};

/** Returns the line of a fault and the change, and for a barrier the line after it. */
function nameOf(description: string, code: string): string {
  const [, line, change] = /line (\d+): (.*)$/s.exec(description)!;
  const lines = code.split("\n").map((text) => text.trim());
  return `${lines[Number(line) - 1]} | ${
    change === "workgroupBarrier(); → nothing" ? lines[Number(line)] : change
  }`;
}

webgpuSuite("the self-check of matrix units, which are replaced by loops", (backend) => {
  const cases = ALL_CASES.filter(({ subject }) => KERNELS.some(({ name }) => name === subject));

  /** Returns a kernel of which a device has only the given shader. */
  const only = (kernel: Kernel, code: string): Kernel => ({
    ...kernel,
    shader: { ...kernel.variants![MATRIX_VARIANT], code: withoutMatrixUnits(code) },
    softwareShader: undefined,
    variants: undefined,
    variantFor: undefined,
  });

  /** Runs the cases of a kernel with other code. Returns whether the results are accepted. */
  async function isAccepted(kernel: Kernel, code: string): Promise<boolean> {
    const replaced = only(kernel, code);
    const device = withDispatch(backend(), (dispatched, buffers, params) => {
      backend().dispatch(dispatched.name === kernel.name ? replaced : dispatched, buffers, params);
    });
    for (const checkCase of cases.filter(({ subject }) => subject === kernel.name)) {
      try {
        await selfCheck(device, [checkCase], []);
      } catch (error) {
        if (error instanceof SelfCheckError) return false;
        throw error;
      }
    }
    return true;
  }

  for (const kernel of KERNELS) {
    it(`accepts ${kernel.name}`, async () => ok(await isAccepted(kernel, MATRIX.code)));
  }

  it("refuses every fault in their shader, in one of the products", async () => {
    const faults = shaderFaults(productNT, MATRIX), accepted: string[] = [];
    for (const { kernel: { shader: { code } }, description } of faults) {
      let isRefused = false;
      for (const kernel of KERNELS) isRefused ||= !await isAccepted(kernel, code);
      if (!isRefused) accepted.push(nameOf(description, MATRIX.code));
    }
    deepStrictEqual(accepted.filter((change) => HARMLESS[change] === undefined), []);
    ok(faults.length > 15, `${faults.length} faults`);
  });
});
