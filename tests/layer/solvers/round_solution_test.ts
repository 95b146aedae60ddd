/** Tests roundSolution(), which rounds layers that another solver has pruned, in comparison with float64 code. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { relativeError } from "../../../src/layer/solvers/solver.ts";
import { solveMagnitude } from "../../../src/layer/solvers/magnitude.ts";
import { refit } from "../../../src/layer/solvers/refit.ts";
import { roundSolution } from "../../../src/layer/solvers/rounding/round_solution.ts";
import { scaleStatistics } from "../../../src/layer/solvers/scaled_statistics.ts";
import { referenceActivationOrder, referenceGptq } from "../../reference/gptq.ts";
import { quadraticForm } from "../../reference/hessian.ts";
import { referenceFactor } from "../../reference/sparsegpt.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { readRounded } from "../../support/rounded_solutions.ts";

const DAMPING = 0.01, BLOCKSIZE = 48, EDGE = 96;
const HALF = { sparsity: 0.5, pattern: { kind: "unstructured" }, relativeError: true } as const;

eachBackend("roundSolution()", (backend) => {
  for (
    const [order, groupSize, ranges] of [
      ["natural", 0, "minmax"],
      ["natural", 0, "search"],
      ["natural", 16, "search"],
      ["activation", 0, "search"],
    ] as const
  ) {
    it(`rounds refitted weights on their mask (${order} order, ${groupSize || "all"} columns per grid, ${ranges})`, async () => {
      const rows = 70,
        cols = 203,
        host = makeLayer(rows, cols, { seed: 1 }),
        live = backend().counters.bytesLive;
      const hessian = uploadHessian(backend(), host.hessian, cols, EDGE);
      const factored = await factor(backend(), uploadHessian(backend(), host.hessian, cols, EDGE), {
        damping: DAMPING,
        blocksize: BLOCKSIZE,
        order,
      });
      const layer = uploadLayer(backend(), host, EDGE);
      const pruned = await solveMagnitude(backend(), layer, hessian, HALF);
      const statistics = await scaleStatistics(backend(), hessian, DAMPING);
      await refit(backend(), { delta: layer.weight, q: pruned.q, mask: pruned.mask }, statistics, 5);
      const { q: start, mask } = await readSolution(backend(), pruned);

      const quantization = { bits: 4, symmetric: false, groupSize, order, ranges } as const;
      const solution = await roundSolution(backend(), layer, pruned, factored, statistics, quantization);
      const rounded = await readRounded(backend(), solution, quantization);
      assertSame(rounded.mask, mask);

      const options = {
        ...quantization,
        sparsity: 0,
        blocksize: BLOCKSIZE,
        fixedMask: mask,
        follow: rounded,
      };
      const refitted = { ...host, weight: start };
      const expected = order === "natural"
        ? referenceGptq(refitted, referenceFactor(host.hessian, cols, DAMPING), options)
        : referenceActivationOrder(refitted, DAMPING, options);
      assertSame(rounded.codes, expected.codes);

      const delta = Float64Array.from(host.weight, (weight, i) => weight - rounded.q[i]);
      const loss = quadraticForm(delta, host.hessian, rows, cols);
      assertClose([solution.loss!], [loss], 1e-4, { label: "loss" });
      const relative = loss / quadraticForm(host.weight, host.hessian, rows, cols);
      assertClose([relativeError(solution)!], [relative], 1e-4, { label: "relative error" });
      const device = await readMatrix(backend(), layer.weight);
      assertClose(device, delta, 1e-6, { label: "Δ" });
      for (const resource of [solution, layer, factored, statistics, hessian]) resource.destroy();
      assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
    });
  }

  it("frees the pruned layer if the options are refused", async () => {
    const host = makeLayer(8, 70, { seed: 2 }), live = backend().counters.bytesLive;
    const upload = () => uploadHessian(backend(), host.hessian, 70);
    const factored = await factor(backend(), upload(), { damping: DAMPING, blocksize: 32 });
    const statistics = await scaleStatistics(backend(), upload(), DAMPING);
    const layer = uploadLayer(backend(), host);
    const pruned = await solveMagnitude(backend(), layer, undefined, HALF);
    const quantization = { bits: 12, symmetric: false, groupSize: 0, order: "natural" } as const;
    await assert.rejects(
      roundSolution(backend(), layer, pruned, factored, statistics, quantization),
      { name: "RangeError", message: /^bits 12: / },
    );
    for (const resource of [layer, factored, statistics]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
