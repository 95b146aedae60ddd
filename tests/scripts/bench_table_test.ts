/** The benches' tables, cell by cell. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { modelMemory, modelWork, ratesOf } from "../../scripts/bench/projection.ts";
import { latencyTable, layerTable, phaseTable, projectionTable } from "../../scripts/bench/table.ts";
import { LAYER } from "./bench_result.ts";

/** The cells of a Markdown table's rows, without its rule. */
function cells(table: string): string[][] {
  const rows = table.split("\n").map((line) => line.slice(2, -2).split(" | "));
  return rows.filter((_, i) => i !== 1);
}

describe("layerTable", () => {
  it("sets a size beside the GEMM rate and PyTorch", () => {
    const [head, row] = cells(layerTable([LAYER], { order: 1024, gflops: 40 }));
    assert.deepEqual(Object.fromEntries(head.map((title, i) => [title, row[i]])), {
      "rows × cols": "1000 × 800",
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
      "× PyTorch": "3.0",
    });
  });

  it("leaves out what was not measured", () => {
    const [head, row] = cells(layerTable([{ ...LAYER, reference: undefined }]));
    const missing = head.filter((_, i) => row[i] === "–");
    assert.deepEqual(missing, ["of GEMM", "PyTorch s", "× PyTorch"]);
  });
});

describe("phaseTable", () => {
  it("divides the timed solve by the shares; the phases add up to the request", () => {
    const [head, row] = cells(phaseTable([LAYER]));
    assert.equal(head[3], "select s");
    assert.deepEqual(row.slice(1), ["1.000", "2.000", "0.500", "1.000", "2.000", "0.500", "1.000", "8.000"]);
  });

  it("leaves the steps out of a run without them", () => {
    const [, row] = cells(phaseTable([{ ...LAYER, shares: undefined }]));
    assert.deepEqual(row.slice(3, 7), ["–", "–", "–", "–"]);
  });
});

describe("latencyTable", () => {
  it("has milliseconds", () => {
    const latency = { rows: 768, cols: 768, clients: 8, requests: 200, p50: 0.25, p99: 0.5, alone: 0.05 };
    const [, row] = cells(latencyTable({ ...latency, requestsPerSecond: 32.06 }));
    assert.deepEqual(row, ["768 × 768", "8", "200", "250", "500", "32.1", "50"]);
  });
});

describe("projectionTable", () => {
  it("has a row a phase and their sum", () => {
    const model = { title: "toy", blocks: 1000, inputs: [{ cols: 8000, rows: [8000] }] };
    const rates = ratesOf({ layers: [LAYER], peak: { order: 1024, gflops: 50 } });
    const [head, ...rows] = cells(projectionTable(model.title, modelWork(model), modelMemory(model), rates));
    assert.deepEqual(head, ["toy", "work", "on the device", "rate", "hours"]);
    assert.deepEqual(rows.map(([phase]) => phase), [
      "forward",
      "statistics",
      "read",
      "factor",
      "solve",
      "write",
      "total",
    ]);
    // 1000·8000³/3 flops at 800³/3 in 2 s: 1000·10³·2 s.
    assert.deepEqual(rows[3], ["factor", "0.17 PFLOP", "0.4 GB", "0.1 GFLOP/s", "555.6"]);
    const sum = rows.slice(0, 6).reduce((total, row) => total + Number(row[4]), 0);
    assert.ok(Math.abs(sum - Number(rows[6][4])) < 0.4, `${sum}`);
  });
});
