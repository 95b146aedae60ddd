/** Tests improveRounding(), coordinate descent on the codes of rounded weights, in comparison with float64 code. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { solveMagnitude } from "../../../src/layer/solvers/magnitude.ts";
import { improveRounding } from "../../../src/layer/solvers/rounding/improve_rounding.ts";
import { roundSolution } from "../../../src/layer/solvers/rounding/round_solution.ts";
import { scaleStatistics } from "../../../src/layer/solvers/scaled_statistics.ts";
import { dampedHessian, quadraticForm } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { readRounded, type RoundedSolution } from "../../support/rounded_solutions.ts";

const DAMPING = 0.01, BLOCKSIZE = 48, EDGE = 96, ROWS = 70, COLS = 203, DEAD = 9;

eachBackend("improveRounding()", (backend) => {
  for (
    const [sparsity, groupSize, symmetric] of [
      [0, 16, true],
      [0.5, 16, false],
      [0, 0, false],
    ] as const
  ) {
    it(`moves each weight to the best value of its grid (${groupSize || "all"} columns per grid, sparsity ${sparsity})`, async () => {
      const { host, solved, free } = await roundLayer({ sparsity, order: "natural", groupSize, symmetric });
      const before = await readSolution(backend(), solved.rounded);
      const deltaBefore = quadraticForm(subtract(host.weight, before.q), host.hessian, ROWS, COLS);

      const improved = await solved.improve(1);
      const after = await readRounded(backend(), improved, solved.quantization);
      assertSame(after.mask, before.mask);
      requireCoordinateDescent(host, before.q, after, groupSize || COLS);

      const delta = subtract(host.weight, after.q), loss = quadraticForm(delta, host.hessian, ROWS, COLS);
      assert.ok(loss < deltaBefore, `the loss must fall from ${deltaBefore}, but is ${loss}`);
      assertClose([improved.loss!], [loss], 1e-4, { label: "loss" });
      assertClose(await readMatrix(backend(), solved.delta), delta, 1e-6, { label: "Δ" });
      free(improved);
    });
  }

  it("ends when a sweep does not lower the loss, also after a pass in activation order", async () => {
    for (const order of ["natural", "activation"] as const) {
      const { solved, free } = await roundLayer({ sparsity: 0, order, groupSize: 0, symmetric: true });
      const { loss: first } = solved.rounded, settled = await solved.improve(60);
      const again = await solved.improve(1, settled);
      assert.ok(settled.loss! <= first!, `${order}: ${settled.loss} must not be above ${first}`);
      assert.equal(again.loss, settled.loss);
      free(again);
    }
  });

  /** Rounds a layer with a dead input. `free` checks that nothing else stays allocated. */
  async function roundLayer(
    { sparsity, ...grid }: {
      readonly sparsity: number;
      readonly order: "natural" | "activation";
      readonly groupSize: number;
      readonly symmetric: boolean;
    },
  ) {
    const live = backend().counters.bytesLive, host = makeLayer(ROWS, COLS, { seed: 5, dead: [DEAD] });
    const quantization = { bits: 4, ranges: "search", ...grid } as const;
    const upload = () => uploadHessian(backend(), host.hessian, COLS, EDGE);
    const factored = await factor(backend(), upload(), {
      damping: DAMPING,
      blocksize: BLOCKSIZE,
      order: grid.order,
    });
    const layer = uploadLayer(backend(), host, EDGE),
      statistics = await scaleStatistics(backend(), upload(), DAMPING);
    const pruned = await solveMagnitude(backend(), layer, undefined, {
      sparsity,
      pattern: { kind: "unstructured" },
      relativeError: false,
    });
    const rounded = await roundSolution(backend(), layer, pruned, factored, statistics, quantization);
    const improve = (sweeps: number, solution = rounded) =>
      improveRounding(backend(), layer.weight, solution, statistics, {
        factor: factored,
        quantization,
        sweeps,
      });
    const free = (solution: { destroy(): void }) => {
      for (const resource of [solution, layer, factored, statistics]) resource.destroy();
      assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
    };
    return { host, solved: { rounded, quantization, delta: layer.weight, improve }, free };
  }
});

/** Returns W − Q. The weights of the dead input cause no error. */
function subtract(weight: Float32Array, q: Float32Array): Float64Array {
  return Float64Array.from(weight, (value, i) => i % COLS === DEAD ? 0 : value - q[i]);
}

/**
 * Repeats a sweep in float64, from the definition: column by column, each kept weight must get the value of its grid that is nearest to
 * the best value while all other weights stay as they are. A code may be the farther one if both are equally near to within 1e-3 steps.
 */
function requireCoordinateDescent(
  { weight, hessian }: HostLayer,
  before: Float32Array,
  { q, mask, codes, scales, zeros }: RoundedSolution,
  groupSize: number,
): void {
  const a = dampedHessian(hessian, COLS, DAMPING), groups = Math.ceil(COLS / groupSize);
  let moved = 0;
  for (let r = 0; r < ROWS; r++) {
    const row = (values: Float32Array) => values.subarray(r * COLS, (r + 1) * COLS);
    const delta = subtract(row(weight), row(before));
    for (let j = 0; j < COLS; j++) {
      const at = r * COLS + j, grid = r * groups + Math.floor(j / groupSize);
      const gradient = delta.reduce((sum, change, i) => sum + change * a[i * COLS + j], 0);
      const wanted = (before[at] + gradient / a[j * COLS + j]) / scales[grid] + zeros[grid];
      const distance = Math.abs(codes[at] - Math.min(Math.max(wanted, 0), 15));
      if (mask[at]) {
        assert.ok(distance <= 0.501, `row ${r}, column ${j}: code ${codes[at]} instead of ${wanted}`);
      }
      if (q[at] !== before[at]) moved++;
      if (j !== DEAD) delta[j] = weight[at] - q[at];
    }
  }
  assert.ok(moved > 0, "no weight has moved");
}
