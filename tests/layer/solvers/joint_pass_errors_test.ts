/** Failures of a pass that prunes and rounds: failed allocations, and options that cannot be combined. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { OutOfDeviceMemoryError } from "../../../src/device/backend.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import type { QuantizationOptions } from "../../../src/tensor/quantization.ts";
import type { SparseGptOptions } from "../../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { failingAllocation } from "../../support/limited_backend.ts";
import { DAMPING, TWO_OF_FOUR, UNSTRUCTURED, WHOLE_ROWS } from "../../support/rounded_cases.ts";

eachBackend("solveSparseGpt() with quantization if it fails", (backend) => {
  for (const order of ["natural", "activation"] as const) {
    it(`frees everything if any of its buffers cannot be allocated (${order} order)`, async () => {
      const host = { ...makeLayer(8, 70, { seed: 18 }), forced: new Uint8Array(560) };
      const quantization = { ...WHOLE_ROWS, bits: 4, order };
      let failures = 0;
      for (let solved = false; !solved; failures++) {
        const live = backend().counters.bytesLive;
        const limited = failingAllocation(backend(), failures);
        const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70, 64), {
          damping: DAMPING,
          blocksize: 32,
          order,
        });
        const layer = uploadLayer(backend(), host, 64);
        const options = { sparsity: 0.5, pattern: UNSTRUCTURED, relativeError: true, quantization };
        try {
          (await solveSparseGpt(limited, layer, factored, options)).destroy();
          solved = true;
        } catch (error) {
          assert.ok(error instanceof OutOfDeviceMemoryError);
        }
        for (const resource of [layer, factored]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live, `bytes left after allocation ${failures} failed`);
      }
      assert.ok(failures > 10, `only ${failures} allocations`);
    });
  }

  it("refuses options that cannot be combined, with the parameter, the rule and the value, and frees everything", async () => {
    const host = makeLayer(8, 70, { seed: 13 }), live = backend().counters.bytesLive;
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70, 64), {
      damping: DAMPING,
      blocksize: 32,
    });
    const layer = uploadLayer(backend(), host, 64), tooShort = backend().createBuffer("mask", 8);
    const base: QuantizationOptions = { bits: 4, groupSize: 0, symmetric: false, order: "natural" };
    const wrong: [Partial<SparseGptOptions>, RegExp][] = [
      [{ quantization: { ...base, bits: 9 } }, /^bits 9: must be an integer from 2 to 8$/],
      [{ quantization: { ...base, bits: 1 } }, /^bits 1: /],
      [{ quantization: { ...base, groupSize: -1 } }, /^group_size -1: must be a positive integer/],
      [
        { quantization: { ...base, groupSize: 48 } },
        /^group_size 48: must divide the block size, which is 32$/,
      ],
      [
        { quantization: { ...base, groupSize: 2 }, pattern: TWO_OF_FOUR },
        /^group_size 2: must be a multiple of 4, the group size of the pattern$/,
      ],
      [
        { quantization: { ...base, order: "activation" }, pattern: TWO_OF_FOUR },
        /^order activation: .* n:m pattern/,
      ],
      [
        { quantization: { ...base, order: "activation", groupSize: 16 } },
        /^order activation: .* group_size is 16$/,
      ],
      [{ quantization: { ...base, order: "activation" } }, /^order activation: needs a factor in this order/],
      [{ quantization: base, fixedMask: tooShort }, /^a fixed mask of 8 bytes: must have 96 bytes/],
      [{ fixedMask: tooShort }, /^a fixed mask: needs quantization/],
    ];
    for (const [options, message] of wrong) {
      await assert.rejects(
        solveSparseGpt(backend(), layer, factored, {
          sparsity: 0.5,
          pattern: UNSTRUCTURED,
          relativeError: false,
          ...options,
        }),
        { name: "RangeError", message },
      );
    }
    for (const resource of [layer, factored, tooShort]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
