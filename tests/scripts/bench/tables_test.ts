/** Tests the tables of the layer bench, the latency bench and the projection cell by cell. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { latencyTable } from "../../../scripts/bench/latency/table.ts";
import { phaseTable, settingsTable, speedTable } from "../../../scripts/bench/layers/tables.ts";
import { projectionTable } from "../../../scripts/bench/projection/table.ts";
import { LAYER } from "./layer_result.ts";

/** Returns the cells of each row of a Markdown table, without the line below the headings. */
function cells(table: string): string[][] {
  const rows = table.split("\n").map((line) => line.slice(2, -2).split(" | "));
  return rows.filter((_, i) => i !== 1);
}

describe("speedTable", () => {
  it("shows the times of one layer size, its share of the GEMM rate, and PyTorch's time", () => {
    const [head, row] = cells(speedTable({ layers: [LAYER], peak: { order: 1024, gflops: 40 } }));
    assert.deepEqual(Object.fromEntries(head.map((title, i) => [title, row[i]])), {
      "rows × cols": "1000 × 800",
      "products": "own",
      "factor s": "2.000",
      "solve s": "4.000",
      "factor + solve s": "6.000",
      "with error s": "9.000",
      "request s": "8.000",
      "HTTP adds": "33 %",
      "GFLOP/s": "30.0",
      "of GEMM": "75 %",
      "memory MiB": "100",
      "PyTorch s": "18.000",
      "PyTorch's setting": "torch 2.6.0, OpenBLAS, OMP 2",
      "× PyTorch": "3.0",
    });
  });

  it("shows a dash for figures that were not measured", () => {
    const [head, row] = cells(speedTable({ layers: [{ ...LAYER, reference: undefined }] }));
    const missing = head.filter((_, i) => row[i] === "–");
    assert.deepEqual(missing, ["of GEMM", "PyTorch s", "PyTorch's setting", "× PyTorch"]);
  });
});

describe("speedTable, of a layer that a library solved", () => {
  it("names the library, and divides the rate by that of the library's product", () => {
    const library = "OpenBLAS 0.3.29 SkylakeX", order = 1024;
    const [head, own, other] = cells(speedTable({
      layers: [LAYER, { ...LAYER, library, gflops: 60 }],
      peak: { order, gflops: 40 },
      libraryPeak: { order, gflops: 120 },
    }));
    const cell = (row: string[], title: string) => row[head.indexOf(title)];
    assert.deepEqual([cell(own, "products"), cell(own, "of GEMM")], ["own", "75 %"]);
    assert.deepEqual([cell(other, "products"), cell(other, "of GEMM")], [library, "50 %"]);
  });
});

describe("settingsTable", () => {
  it("has one column per size that was tried, and names the builds", () => {
    const trials = [{ rows: 4, cols: 5, trials: [{ title: "torch 2.6.0, OpenBLAS, OMP 2", seconds: 2 }] }];
    const text = settingsTable({ layers: [LAYER], trials, builds: [] });
    assert.match(
      text,
      /^\| setting \| 4 × 5, s \|\n.*\n\| torch 2\.6\.0, OpenBLAS, OMP 2 \| \*\*2\.00\*\* \|/,
    );
  });
});

describe("phaseTable", () => {
  it("splits the time of the solve by the shares of its steps, so that all phases add up to the request", () => {
    const [head, row] = cells(phaseTable({ layers: [LAYER] }));
    assert.equal(head[4], "select s");
    assert.deepEqual(row.slice(2), ["1.000", "2.000", "0.500", "1.000", "2.000", "0.500", "1.000", "8.000"]);
  });

  it("shows a dash for each step if a run has no shares", () => {
    const [, row] = cells(phaseTable({ layers: [{ ...LAYER, shares: undefined }] }));
    assert.deepEqual(row.slice(4, 8), ["–", "–", "–", "–"]);
  });
});

describe("latencyTable", () => {
  it("shows latencies in milliseconds", () => {
    const latency = { rows: 768, cols: 768, clients: 8, requests: 200, p50: 0.25, p99: 0.5, alone: 0.05 };
    const [, row] = cells(latencyTable({ latency: { ...latency, requestsPerSecond: 32.06 } }));
    assert.deepEqual(row, ["768 × 768", "8", "200", "250", "500", "32.1", "50"]);
  });
});

describe("projectionTable", () => {
  it("uses the rates of Pare's own kernels, and not those of a library", () => {
    const model = { title: "toy", blocks: 1, inputs: [{ cols: 800, rows: [1000] }] };
    const peak = { order: 1024, gflops: 50 };
    const fast = { ...LAYER, library: "OpenBLAS", solve: { ...LAYER.solve, factor: 0.001, solve: 0.001 } };
    const own = projectionTable(model, { layers: [LAYER], peak });
    assert.equal(projectionTable(model, { layers: [fast, LAYER], peak }), own);
  });

  it("has one row per phase, and a row with the sum of the hours", () => {
    const model = { title: "toy", blocks: 1000, inputs: [{ cols: 8000, rows: [8000] }] };
    const results = { layers: [LAYER], peak: { order: 1024, gflops: 50 } };
    const [head, ...rows] = cells(projectionTable(model, results));
    assert.deepEqual(head, ["toy", "work", "device memory", "rate", "hours"]);
    assert.deepEqual(rows.map(([phase]) => phase), [
      "forward",
      "statistics",
      "read",
      "factor",
      "solve",
      "write",
      "total",
    ]);
    // The model needs 1000·8000³/3 flops. The timed layer took 2 s for 800³/3 flops, so the model takes
    // 1000·10³·2 s.
    assert.deepEqual(rows[3], ["factor", "0.17 PFLOP", "0.4 GB", "0.1 GFLOP/s", "555.6"]);
    const sum = rows.slice(0, 6).reduce((total, row) => total + Number(row[4]), 0);
    assert.ok(Math.abs(sum - Number(rows[6][4])) < 0.4, `${sum}`);
  });
});
