/**
 * Tests how the solvers bench measures and summarises a cell, which is one method at one target, and that its committed
 * figures meet the requirements.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readResults, resultsUrl } from "../../../scripts/bench/report/results_file.ts";
import {
  type CellResult,
  errorRatios,
  findCell,
  listCells,
  type ModelResult,
  PRUNING,
  type SolverResults,
  withoutCells,
} from "../../../scripts/bench/solvers/cells.ts";
import { measureCell } from "../../../scripts/bench/solvers/measure_cell.ts";
import { openLocalHost } from "../../support/local_host.ts";
import type { Model } from "../../../src/model/model.ts";
import { MAX_OBC_COLUMNS } from "../../../src/layer/solvers/obc/weight_removal.ts";
import { floatsToBytes } from "../../../src/tensor/dtype.ts";

function cell(method: string, target: string, errors: (number | null)[], perplexity: number): CellResult {
  return { method, target, errors, perplexity, solveSeconds: perplexity / 10 };
}

function model(name: string, cells: CellResult[]): ModelResult {
  const sizes = { seqlen: 8, calibrationWindows: 2, evaluationWindows: 3 };
  return { name, ...sizes, dense: 40, layers: ["first", "second"], cells };
}

it("measureCell() records the reason if the method refuses a layer, and does not prune the model", async () => {
  const cols = MAX_OBC_COLUMNS + 1, triangle = cols * (cols + 1) / 2;
  const zeros = (shape: number[], length: number) => (
    { dtype: "F32", shape, data: floatsToBytes(new Float32Array(length), "F32") } as const
  );
  const layer = { name: "wide", weight: zeros([1, cols], cols), hessian: zeros([triangle], triangle) };
  await using host = await openLocalHost("cpu");
  const measured = {
    model: {} as Model, // any use of this model would throw
    layers: [layer],
    windows: [],
    evaluation: new Uint32Array(),
    evaluationOptions: { seqlen: 8, windows: 1 },
  };
  const { refused, errors, perplexity } = await measureCell(host.pruner, measured, {
    method: "OBC",
    target: "50 %",
    query: { method: "obc", sparsity: 0.5 },
  });
  assert.match(refused!, /3073 columns, but at most 3072/);
  assert.deepEqual([errors, perplexity], [[null], null]);
});

it("withoutCells() removes only the listed cells, so that the other figures stay", () => {
  const figures = [cell("SparseGPT", "50 %", [1, 1], 1), cell("OBC", "50 %", [1, 1], 1)];
  const listed = listCells().filter(({ method }) => method === "OBC");
  assert.deepEqual(withoutCells(model("a", figures), listed).cells, [figures[0]]);
});

describe("errorRatios()", () => {
  it("returns the geometric mean over the layers of all models, and names the worst layer", () => {
    const models = [
      model("a", [cell("SparseGPT", "2:4", [1, 1], 1), cell("x", "2:4", [0.25, 0.5], 1)]),
      model("b", [cell("SparseGPT", "2:4", [2, 4], 1), cell("x", "2:4", [1, 8], 1)]),
    ];
    const ratios = errorRatios(models, "x", "2:4")!;
    assert.ok(Math.abs(ratios.geometricMean - (0.25 * 0.5 * 0.5 * 2) ** 0.25) < 1e-12);
    assert.deepEqual(ratios.worst, { ratio: 2, layer: "b second" });
  });

  it("returns undefined if a layer was refused or a cell was not measured", () => {
    const cells = [cell("SparseGPT", "2:4", [1, 1], 1), cell("x", "2:4", [0.5, null], 1)];
    assert.equal(errorRatios([model("a", cells)], "x", "2:4"), undefined);
    assert.equal(errorRatios([model("a", cells)], "y", "2:4"), undefined);
  });
});

const { models } = await readResults<SolverResults>(resultsUrl("solvers", "json"));

describe("the committed figures", () => {
  const testModels = models.filter(({ name }) => name.endsWith("-sotu"));
  const perplexity = (model: ModelResult, method: string, target: string) =>
    findCell(model, method, target)!.perplexity!;

  for (const [target, limit] of Object.entries({ "50 %": 0.50, "70 %": 0.52, "2:4": 0.60 })) {
    it(`of ALPS at ${target} have at most ${limit} times SparseGPT's errors, as a geometric mean`, () => {
      assert.ok(errorRatios(testModels, "ALPS default", target)!.geometricMean <= limit);
    });
  }

  it("of ALPS are never worse than SparseGPT's, on any layer and in any model", () => {
    for (const { title: target } of PRUNING) {
      for (const effort of ["fast", "default", "best"]) {
        assert.ok(errorRatios(models, `ALPS ${effort}`, target)!.worst.ratio <= 1, `${effort} ${target}`);
      }
      for (const model of models) {
        const [ours, theirs] = ["ALPS default", "SparseGPT"].map((method) =>
          perplexity(model, method, target)
        );
        assert.ok(ours < theirs, `${model.name} ${target}`);
      }
    }
  });

  it("of ALPS at 50 % with 4 bits are no worse than GPTQ's with 3 bits, which takes as much space", () => {
    for (const model of testModels) {
      assert.ok(perplexity(model, "ALPS default", "50 % + 4 bit") <= perplexity(model, "GPTQ", "3 bit"));
    }
  });
});

it("listCells() lists every cell only once", () => {
  const names = listCells().map(({ method, target }) => `${method} ${target}`);
  assert.equal(new Set(names).size, names.length);
});
