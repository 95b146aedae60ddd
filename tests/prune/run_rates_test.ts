/** Tests the prediction of the time that a run has left. All times are given, so the tests do not depend on the speed of the machine. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { linearSpec } from "../../src/model/layer_specs.ts";
import { openModel } from "../../src/model/model.ts";
import { linearLayers, type Pass, type SizedLayer } from "../../src/prune/block_plan.ts";
import type { PruneJob } from "../../src/prune/run/job.ts";
import type { ModelSpec } from "../../src/model/families/family.ts";
import { countPassWork, RunRates } from "../../src/prune/run/run_rates.ts";
import { TimeLeft } from "../../src/prune/run/time_left.ts";
import { openOptSotu } from "../support/opt_sotu.ts";

function layer(name: string, rows: number, cols: number): SizedLayer {
  return { name, block: 0, rows, cols, linear: linearSpec(name, cols, rows) };
}

/** An observing pass does twice the work of a running one, and an epoch three times. */
const WORK = { observe: 2, train: 3, run: 1 };

/** Adds a pass of two batches. */
function addPass(rates: RunRates, pass: Pass, first: number, later: number): void {
  const step = { done: 0, total: 0, batches: 2, pass };
  rates.addStep({ ...step, isFirst: true, seconds: first });
  rates.addStep({ ...step, isFirst: false, seconds: later });
}

describe("RunRates", () => {
  it("predicts nothing until a layer is solved", () => {
    const rates = new RunRates(() => ({}), WORK);
    addPass(rates, "observe", 5, 1);
    assert.equal(rates.secondsOf({ passes: ["observe"], batches: 2, layers: [] }), undefined);
  });

  it("counts the first step of a pass apart, and forgets the first pass of each kind", () => {
    const rates = new RunRates(() => ({}), WORK);
    addPass(rates, "observe", 50, 10);
    rates.addLayer(layer("a", 4, 4), { calibration: 70, layers: 1 });
    addPass(rates, "run", 3, 1);
    addPass(rates, "observe", 5, 2);
    addPass(rates, "observe", 7, 2);
    const seconds = (passes: readonly Pass[]) =>
      rates.secondsOf({ passes, batches: 10, layers: [] })?.calibration;
    assert.equal(seconds(["observe"]), 6 + 9 * 2);
    assert.equal(seconds(["run", "observe"]), 3 + 9 * 1 + 6 + 9 * 2);
    const steps = { pass: "run", count: 4 } as const;
    assert.equal(rates.secondsOf({ passes: [], batches: 10, steps, layers: [] })?.calibration, 4);
  });

  it("predicts a pass that was not measured by the other kind, in proportion to its work", () => {
    const rates = new RunRates(() => ({}), WORK);
    addPass(rates, "observe", 6, 4);
    rates.addLayer(layer("a", 4, 4), { calibration: 10, layers: 1 });
    assert.equal(rates.secondsOf({ passes: ["run"], batches: 3, layers: [] })?.calibration, 3 + 2 * 2);
    assert.equal(rates.secondsOf({ passes: ["train"], batches: 3, layers: [] })?.reconstruction, 9 + 2 * 6);
  });

  it("counts epochs apart from the calibration of a layer", () => {
    const rates = new RunRates(() => ({}), WORK);
    rates.addLayer(layer("a", 4, 4), { calibration: 1, layers: 1 });
    addPass(rates, "train", 7, 5);
    rates.addLayer(layer("b", 4, 4), { calibration: 2, layers: 1 }); // without the 12 seconds of the epoch
    const seconds = rates.secondsOf({ passes: ["train"], batches: 2, layers: [layer("c", 4, 4)] });
    assert.deepEqual(seconds, { calibration: 2, layers: 1, reconstruction: 12 });
  });

  it("predicts a layer by the layers of its shape and method, and others in proportion to their flops", () => {
    const rates = new RunRates((name) => ({ method: name === "slow" ? "alps" : "sparsegpt" }), WORK);
    rates.addLayer(layer("first", 4, 4), { calibration: 9, layers: 50 }); // forgotten
    rates.addLayer(layer("a", 4, 4), { calibration: 0.5, layers: 1 });
    rates.addLayer(layer("b", 4, 4), { calibration: 0.5, layers: 3 });
    rates.addLayer(layer("slow", 4, 4), { calibration: 0.5, layers: 8 });
    const seconds = (...layers: SizedLayer[]) => rates.secondsOf({ passes: [], batches: 1, layers });
    assert.deepEqual(seconds(layer("c", 4, 4), layer("slow", 4, 4)), {
      calibration: 1,
      layers: 2 + 8,
      reconstruction: 0,
    });
    assert.equal(seconds(layer("d", 8, 8))?.layers, 8 * 4); // eight times the flops of the mean layer
  });
});

describe("TimeLeft", () => {
  /** Returns the predictions after each layer of block 0, the first of which takes 12 seconds. */
  const predictions = async (options: Partial<PruneJob>) => {
    const checkpoint = await openOptSotu(), model = openModel(checkpoint);
    await checkpoint.close();
    const windows = [new Uint32Array(4)];
    const timeLeft = new TimeLeft({ model, windows, queryOf: () => ({ bits: 4 }), ...options }, new Set());
    timeLeft.addStep({ done: 1, total: 1, pass: "run", batches: 1, isFirst: true, seconds: 0 });
    return linearLayers(model.spec).filter(({ block }) => block === 0).map(({ name }, i) => {
      timeLeft.addLayer(name, { calibration: 0, layers: i === 0 ? 12 : 0 });
      return timeLeft.seconds;
    });
  };

  for (
    const [what, options] of [["targets", { target: "dense" }], ["rounding last", {
      reconstruct: 1,
    }]] as const
  ) {
    it(`divides the time of the first layer among all layers of a block that is solved as a whole, with ${what}`, async () => {
      const unknown = Array(5).fill(undefined), found = await predictions(options);
      assert.deepEqual(found.slice(0, 5), unknown);
      assert.ok(Math.abs(found[5]! - 3 * 12) < 1e-9, `${found[5]} seconds for three more blocks`);
    });
  }

  it("predicts from the first layer on if the layers are solved one by one", async () => {
    const [first] = await predictions({});
    assert.ok(first! > 12, `${first} seconds`);
  });
});

describe("countPassWork()", () => {
  it("counts products with weights, and the statistics without and with targets", () => {
    const block = { groups: [[linearSpec("a", 4, 6)], [linearSpec("b", 6, 4)]] };
    const count = (hasTargets?: boolean) =>
      countPassWork({ blockCount: 2, block: () => block } as unknown as ModelSpec, hasTargets);
    assert.deepEqual(count(), { run: 96, train: 288, observe: 48 + 16 + 36 });
    // A pass without the last group and a whole one. For a, the moments of 4 inputs with 4 inputs, and for b, those of 4 outputs with 6 inputs.
    const moments = 2 * (4 * 4 + 4 * 6);
    assert.deepEqual(count(true), { run: 96, train: 288, observe: 48 + 96 + (16 + 36) + moments });
  });
});
