/** Tests that the model bench detects programs that solve different problems, and tests its table. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type ModelRun, requireSameProblem } from "../../../scripts/bench/model/model_run.ts";
import { modelSettingsTable, modelTable } from "../../../scripts/bench/model/table.ts";

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

describe("modelTable", () => {
  it("has one row per model, and shows a ratio only if PyTorch was timed", () => {
    const result = {
      title: "opt",
      layers: 24,
      windows: 64,
      seqlen: 256,
      runs: 3,
      fastestSeconds: 1.9,
      seconds: { calibrate: 1, factor: 0.25, solve: 0.5, total: 2 },
    };
    const setting = "torch 2.6.0, OpenBLAS, OMP 2";
    const reference = {
      seconds: { total: 8 },
      setting,
      speedup: 4.03,
      fastestSeconds: 7.6,
      fastestSpeedup: 4,
    };
    assert.match(
      modelTable({ models: [{ ...result, references: {} }] }),
      /\| own .*\| 0\.25 \| *2\.00 \| *– \| *– \| *– \| *– \| *– \| *– \|/,
    );
    assert.match(
      modelTable({ models: [{ ...result, references: { published: reference } }] }),
      /\| *2\.00 \| *8\.00 \| torch 2\.6\.0, OpenBLAS, OMP 2 \| *4\.03 \| *– \| *– \| *– \|/,
    );
  });
});

it("modelSettingsTable() has one column for each model and each form of PyTorch that was tried", () => {
  const published = [{ title: "OMP 2", seconds: 4 }, { title: "OMP 1", seconds: 3 }];
  const shared = [{ title: "OMP 2", seconds: 1 }, { title: "OMP 1", seconds: 2 }];
  const [head, , first, second] = modelSettingsTable({
    models: [],
    builds: [],
    trials: [{ title: "opt", forms: { published, shared } }],
  }).split("\n");
  assert.equal(head, "| setting | opt, published, s | opt, shared, s |");
  assert.deepEqual([first, second], ["| OMP 2 | 4.00 | **1.00** |", "| OMP 1 | **3.00** | 2.00 |"]);
});
