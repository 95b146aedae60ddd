/**
 * Tests how the solvers bench summarises its figures: the ratios of errors, the gates, the tables and the
 * totals of a run. A cell is one method at one target, and a gate is a requirement on the figures.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type ModelResult, withoutCells } from "../../../scripts/bench/solvers/models/bench_models.ts";
import { listCells, TARGETS } from "../../../scripts/bench/solvers/models/cells.ts";
import { comparisonTable } from "../../../scripts/bench/solvers/models/comparison.ts";
import { evaluateGates, type Gate } from "../../../scripts/bench/solvers/models/gates.ts";
import { type CellResult, measureCell } from "../../../scripts/bench/solvers/models/measure_cell.ts";
import { errorRatios } from "../../../scripts/bench/solvers/models/summary.ts";
import { errorTable, perplexityTable } from "../../../scripts/bench/solvers/models/tables.ts";
import { methodTotals, shareTable } from "../../../scripts/bench/solvers/share/table.ts";
import { alpsParts, partFlops, sparseGptParts } from "../../../scripts/bench/solvers/wide/solve_cost.ts";
import { openLocalHost } from "../../../src/cli/local_host.ts";
import type { Model } from "../../../src/models/model.ts";
import { MAX_OBC_COLUMNS } from "../../../src/solvers/obc/obc_limit.ts";
import { floatsToBytes } from "../../../src/tensor/convert.ts";

function cell(method: string, target: string, errors: (number | null)[], perplexity: number): CellResult {
  return { method, target, errors, perplexity, solveSeconds: perplexity / 10 };
}

function model(name: string, cells: CellResult[]): ModelResult {
  const sizes = { seqlen: 8, calibrationWindows: 2, evaluationWindows: 3 };
  return { name, ...sizes, dense: 40, layers: ["first", "second"], cells };
}

/**
 * Returns the figures of ALPS and SparseGPT at every target. The errors of ALPS are `ratio` times those of
 * SparseGPT.
 */
function bothMethods(ratio: number, perplexities = { alps: 47.8, sparsegpt: 49 }): CellResult[] {
  return TARGETS.flatMap(({ title }) => [
    cell("SparseGPT", title, [0.1, 0.2], perplexities.sparsegpt),
    ...["fast", "default", "best"].map((effort) =>
      cell(`ALPS ${effort}`, title, [0.1 * ratio, 0.2 * ratio], perplexities.alps)
    ),
  ]);
}

function findGate(gates: readonly Gate[], text: RegExp): Gate {
  const found = gates.filter(({ requirement }) => text.test(requirement));
  assert.equal(found.length, 1, `${text} must match exactly one gate`);
  return found[0];
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
  const { refused, errors, perplexity } = await measureCell(host, measured, {
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

describe("evaluateGates()", () => {
  const testModels = (cells: CellResult[]) =>
    ["opt", "llama", "bloom"].map((name) => model(`${name}-sotu`, cells));

  it("passes figures that meet the requirements", () => {
    const gates = evaluateGates({ models: testModels(bothMethods(0.49)) });
    for (const text of [/50 %: geometric/, /opt-sotu: perplexity within/, /opt-sotu: perplexity below/]) {
      assert.equal(findGate(gates, text).passed, true, String(text));
    }
    assert.equal(findGate(gates, /ALPS best: never worse/).passed, true);
  });

  it("fails a mean, a perplexity and a layer that miss their requirements, and shows the measured figure", () => {
    const gates = evaluateGates({
      models: testModels(bothMethods(1.01, { alps: 49.1, sparsegpt: 49 })),
    });
    assert.equal(findGate(gates, /50 %: geometric/).passed, false);
    assert.equal(findGate(gates, /opt-sotu: perplexity within/).passed, false);
    assert.equal(findGate(gates, /opt-sotu: perplexity below/).passed, false);
    assert.match(findGate(gates, /ALPS default: never worse/).measured, /^worst 1\.010 \(opt-sotu/);
  });

  it("leaves the outcome open if a figure was not measured", () => {
    const gates = evaluateGates({ models: [model("opt-sotu", bothMethods(0.5).slice(0, 4))] });
    assert.equal(findGate(gates, /50 %: geometric/).passed, undefined);
    assert.equal(findGate(gates, /llama-sotu: perplexity within/).passed, undefined);
    assert.equal(findGate(gates, /opt-sotu: perplexity below/).passed, undefined);
    assert.equal(findGate(gates, /^SparseGPT, .* no worse than GPTQ/).passed, undefined);
  });

  it("requires that 50 % with 4 bits is no worse than GPTQ with 3 bits, on every model", () => {
    const cells = (
      ours: number,
    ) => [cell("SparseGPT", "50 % + 4 bit", [1, 1], ours), cell("GPTQ", "3 bit", [1, 1], 49)];
    const equal = evaluateGates({ models: testModels(cells(49)) });
    assert.equal(findGate(equal, /^SparseGPT, .* no worse than GPTQ/).passed, true);
    const models = [...testModels(cells(49)).slice(1), model("opt-sotu", cells(49.01))];
    const worse = findGate(evaluateGates({ models }), /^SparseGPT, .* no worse than GPTQ/);
    assert.equal(worse.passed, false);
    assert.match(worse.measured, /opt-sotu: 49\.01, GPTQ 49\.00/);
    assert.equal(findGate(equal, /^ALPS best, .* no worse than GPTQ/).passed, undefined);
  });
});

describe("the tables of the solvers bench", () => {
  const models = [model("opt-sotu", bothMethods(0.5)), model("stories260K", bothMethods(0.25))];

  it("show the errors of the test models together before those of each model", () => {
    const rows = errorTable({ models }).split("\n").filter((row) => row.includes("ALPS default"));
    assert.match(rows[0], /\| 0\.500 \(0\.500\) \|/);
    assert.match(rows[2], /\| 0\.250 \(0\.250\) \|/);
    assert.match(errorTable({ models }), /\| the 1 test models \| magnitude \| – \| – \| – \| – \| – \|/);
  });

  it("show the perplexities, and the seconds as a multiple of SparseGPT's seconds", () => {
    assert.match(perplexityTable({ models }), /\| {2}\| SparseGPT \| 49\.00 \| 49\.00 \|/);
    const row = comparisonTable({ models }).split("\n").find((row) => row.includes("ALPS default"));
    assert.equal(row, "| ALPS default | 0.50 | 0.50 | 0.50 | 47.80 | 1.0 |");
  });

  it("are made from cells that listCells() lists only once", () => {
    const names = listCells().map(({ method, target }) => `${method} ${target}`);
    assert.equal(new Set(names).size, names.length);
  });
});

describe("the parts of a solver's work", () => {
  it("include 35 products for ALPS and its refit, 10 for the refit of the first mask, and 4 for the losses", () => {
    assert.deepEqual(alpsParts("default", 10), { products: 35 + 10 + 4, factors: 1 + 6, solves: 1 });
    assert.deepEqual(sparseGptParts(0), { products: 0, factors: 1, solves: 1 });
    assert.deepEqual(sparseGptParts(10), { products: 12, factors: 1, solves: 1 });
  });

  it("take 2·n³ operations per (n, n) product and n³/3 per Cholesky factor", () => {
    const two = partFlops({ products: 2, factors: 3, solves: 0 }, 10);
    assert.ok(Math.abs(two - (4000 + 1000)) < 1e-9);
  });
});

describe("the totals of a whole run", () => {
  const block = (calibrate: number, solve: number) => ({
    calibrate,
    methods: [{ factor: 1, solve: 1, exchange: 0 }, { factor: 1, solve, exchange: 0 }],
  });
  const measured = [block(10, 3), block(20, 5)];
  const size = { windows: 16, measuredWindows: 8, seqlen: 512, blocks: 4, measured };

  it("extrapolate the last measured block to the blocks after it, and the measured windows to all windows", () => {
    assert.deepEqual(methodTotals(size, 1), {
      calibrate: 2 * (10 + 3 * 20),
      factor: 4,
      solve: 3 + 3 * 5,
      exchange: 0,
      total: 140 + 4 + 18,
    });
  });

  it("are shown with the numbers of measured windows and blocks, and as a multiple of SparseGPT's total", () => {
    const [, , first, second] = shareTable({ sizes: [size] }).split("\n");
    assert.match(first, /^\| 16 × 512 \| 8 of 16 \| 2 of 4 \| SparseGPT \|.*\| 1\.00 \|$/);
    assert.match(second, /\| 1\.09 \|$/);
  });
});
