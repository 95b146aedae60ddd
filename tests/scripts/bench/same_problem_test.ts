/** Tests that the model bench detects programs that solve different problems. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type ModelRun, requireSameProblem } from "../../../scripts/bench/measure/same_problem.ts";

const run = (...losses: number[]): ModelRun => ({
  seconds: { total: 1 },
  layers: losses.map((loss, i) => ({ name: `layer ${i}`, loss })),
});

describe("requireSameProblem", () => {
  it("accepts losses that differ by less than one percent", () =>
    requireSameProblem(run(1, 200), run(1.009, 198.5)));

  it("rejects a loss that differs by more than one percent in either direction", () => {
    assert.throws(
      () => requireSameProblem(run(1, 2), run(1, 2.03)),
      /layer 1: the loss is 2, .* different problems/,
    );
    assert.throws(() => requireSameProblem(run(1, 2), run(1, 1.97)), /layer 1/);
  });

  it("compares single layers in the first transformer block, and the sums of losses in later ones", () => {
    const blocks = (...losses: number[][]): ModelRun => ({
      seconds: { total: 1 },
      layers: losses.flatMap((block, i) => block.map((loss, j) => ({ name: `h.${i}.fc${j}.weight`, loss }))),
    });
    requireSameProblem(blocks([100, 1], [100, 1]), blocks([100, 1], [100, 1.06]));
    assert.throws(
      () => requireSameProblem(blocks([100, 1]), blocks([100, 1.06])),
      /h\.0\.fc1\.weight: the loss/,
    );
    assert.throws(
      () => requireSameProblem(blocks([1], [100, 1]), blocks([1], [98, 1])),
      /h\.1: the loss is 101/,
    );
  });

  it("rejects runs that pruned different layers", () => {
    assert.throws(() => requireSameProblem(run(1), run(1, 2)), /pruned 1 layers, but the reference pruned 2/);
    assert.throws(
      () => requireSameProblem({ ...run(1), layers: [{ name: "fc1", loss: 1 }] }, run(1)),
      /fc1: the reference did not/,
    );
  });

  it("rejects a loss that is NaN", () => assert.throws(() => requireSameProblem(run(NaN), run(1))));
});
