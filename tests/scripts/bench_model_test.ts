/** The whole-model bench refuses to time two programs that do not solve the same problem. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkSameProblem, type ModelRun } from "../../scripts/bench/model/run.ts";
import { modelTable } from "../../scripts/bench/model/table.ts";

const run = (...losses: number[]): ModelRun => ({
  seconds: { total: 1 },
  layers: losses.map((loss, i) => ({ name: `layer ${i}`, loss })),
});

describe("checkSameProblem", () => {
  it("lets pass what float32 and one entry a block explain", () =>
    checkSameProblem(run(1, 200), run(1.009, 198.5)));

  it("refuses a loss more than a percent away, in either direction", () => {
    assert.throws(() => checkSameProblem(run(1, 2), run(1, 2.03)), /layer 1: the loss is 2, .* not the same/);
    assert.throws(() => checkSameProblem(run(1, 2), run(1, 1.97)), /layer 1/);
  });

  it("compares single layers in the first block and sums of blocks past it", () => {
    const blocks = (...losses: number[][]): ModelRun => ({
      seconds: { total: 1 },
      layers: losses.flatMap((block, i) => block.map((loss, j) => ({ name: `h.${i}.fc${j}.weight`, loss }))),
    });
    checkSameProblem(blocks([100, 1], [100, 1]), blocks([100, 1], [100, 1.06]));
    assert.throws(
      () => checkSameProblem(blocks([100, 1]), blocks([100, 1.06])),
      /h\.0\.fc1\.weight: the loss/,
    );
    assert.throws(
      () => checkSameProblem(blocks([1], [100, 1]), blocks([1], [98, 1])),
      /h\.1: the loss is 101/,
    );
  });

  it("refuses other layers", () => {
    assert.throws(() => checkSameProblem(run(1), run(1, 2)), /pruned 1 layers, the reference 2/);
    assert.throws(
      () => checkSameProblem({ ...run(1), layers: [{ name: "fc1", loss: 1 }] }, run(1)),
      /fc1: the reference did not/,
    );
  });

  it("refuses a loss that is no number", () => assert.throws(() => checkSameProblem(run(NaN), run(1))));
});

describe("modelTable", () => {
  it("has a row a model, the ratio only where there is a reference", () => {
    const result = {
      title: "opt",
      layers: 24,
      windows: 64,
      seqlen: 256,
      runs: 3,
      fastestSeconds: 1.9,
      seconds: { calibrate: 1, factor: 0.25, solve: 0.5, total: 2 },
    };
    const reference = { seconds: { total: 8 }, speedup: 4.03, fastestSeconds: 7.6, fastestSpeedup: 4 };
    assert.match(
      modelTable([{ ...result, references: {} }]),
      /\| 0\.25 \| *2\.00 \| *– \| *– \| *– \| *– \|/,
    );
    assert.match(
      modelTable([{ ...result, references: { published: reference } }]),
      /\| *2\.00 \| *8\.00 \| *4\.03 \| *– \| *– \|/,
    );
  });
});
