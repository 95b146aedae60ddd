/**
 * Tests searchRanges(), which chooses the range of the grid of each row. Every range is also tried in naive
 * float64 code, which must find the same smallest error.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { searchRanges } from "../../../src/layer/solvers/rounding/round_solution.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { referenceActivationOrder, referenceGptq } from "../../reference/gptq.ts";
import { quadraticForm } from "../../reference/hessian.ts";
import { referenceFactor } from "../../reference/sparsegpt.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadF32, upload } from "../../support/device.ts";
import { makeLayer, packForced, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { readRounded } from "../../support/rounded_solutions.ts";
import { uniform } from "../../support/random.ts";

const ROWS = 37, COLS = 131, DAMPING = 0.01, BLOCKSIZE = 32, EDGE = 64;
const FRACTIONS = [1, 0.95, 0.9, 0.85];

eachBackend("searchRanges()", (backend) => {
  for (
    const [bits, symmetric, order] of [[4, false, "natural"], [3, true, "natural"], [
      4,
      false,
      "activation",
    ]] as const
  ) {
    it(`finds the range with the smallest error of each row (${bits} bits, ${symmetric ? "symmetric" : "asymmetric"}, ${order} order)`, async () => {
      const host = makeLayer(ROWS, COLS, { seed: 3 }), next = uniform(9);
      const fixedMask = Uint8Array.from({ length: ROWS * COLS }, () => next() < 0.5 ? 1 : 0);
      const live = backend().counters.bytesLive;
      const factored = await factor(backend(), uploadHessian(backend(), host.hessian, COLS, EDGE), {
        damping: DAMPING,
        blocksize: BLOCKSIZE,
        order,
      });
      const layer = uploadLayer(backend(), host, EDGE);
      const mask = upload(backend(), packForced(fixedMask, ROWS, COLS));
      const quantization = { bits, symmetric, groupSize: 0, order };
      const pass = {
        sparsity: 0,
        pattern: { kind: "unstructured" },
        relativeError: false,
        quantization,
        fixedMask: mask,
      } as const;
      const gridRanges = await searchRanges(backend(), layer.weight, factored, pass);
      const solution = await solveSparseGpt(backend(), layer, factored, { ...pass, gridRanges });
      const rounded = await readRounded(backend(), solution, quantization);

      const reference = (gridRanges: ArrayLike<number>, follow?: typeof rounded) => {
        const options = { ...quantization, sparsity: 0, blocksize: BLOCKSIZE, fixedMask, gridRanges, follow };
        return order === "natural"
          ? referenceGptq(host, referenceFactor(host.hessian, COLS, DAMPING), options)
          : referenceActivationOrder(host, DAMPING, options);
      };
      const damped = dampedHessian(host.hessian);
      const rowErrors = ({ q }: { q: ArrayLike<number> }) =>
        Array.from({ length: ROWS }, (_, r) => {
          const delta = Float64Array.from({ length: COLS }, (_, c) =>
            host.weight[r * COLS + c] - q[r * COLS + c]);
          return quadraticForm(delta, damped, 1, COLS);
        });
      const tried = FRACTIONS.map((fraction) => rowErrors(reference(new Float64Array(ROWS).fill(fraction))));
      const smallest = Array.from({ length: ROWS }, (_, r) => Math.min(...tried.map((errors) => errors[r])));
      assertClose(rowErrors(rounded), smallest, 2e-3, { label: "errors of the rows" });
      assertClose(solution.rowErrors!, smallest, 2e-3, { label: "reported errors of the rows" });
      assert.deepEqual(rounded.codes, reference(gridRanges, rounded).codes);
      assert.ok(new Set(gridRanges).size > 1, `all rows have the range ${gridRanges[0]}`);
      for (const resource of [solution, layer, factored, mask]) resource.destroy();
      assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
    });
  }

  it("does not change the weights", async () => {
    const host = makeLayer(9, 40, { seed: 4 });
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 40), {
      damping: DAMPING,
      blocksize: 32,
    });
    const layer = uploadLayer(backend(), host),
      mask = upload(backend(), packForced(new Uint8Array(360).fill(1), 9, 40));
    const quantization = { bits: 4, symmetric: false, groupSize: 0, order: "natural" } as const;
    await searchRanges(backend(), layer.weight, factored, {
      sparsity: 0,
      pattern: { kind: "unstructured" },
      relativeError: false,
      quantization,
      fixedMask: mask,
    });
    const [{ buffer, ld, cols }] = layer.weight.tiles();
    const weights = await downloadF32(backend(), buffer);
    for (let r = 0; r < 9; r++) {
      assert.deepEqual(weights.slice(r * ld, r * ld + cols), host.weight.slice(r * 40, r * 40 + 40));
    }
    for (const resource of [layer, factored, mask]) resource.destroy();
  });
});

/** Adds the damping to the diagonal of H. None of the inputs of the test is dead. */
function dampedHessian(hessian: ArrayLike<number>): Float64Array {
  const damped = Float64Array.from(hessian);
  let sum = 0;
  for (let j = 0; j < COLS; j++) sum += damped[j * (COLS + 1)];
  for (let j = 0; j < COLS; j++) damped[j * (COLS + 1)] += DAMPING * sum / COLS;
  return damped;
}
