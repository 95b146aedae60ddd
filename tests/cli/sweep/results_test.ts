import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DOMParser } from "linkedom";
import { sweepChart } from "../../../src/cli/sweep/chart.ts";
import { settingName, type Sweep, sweepTable } from "../../../src/cli/sweep/results.ts";

const SWEEP: Sweep = {
  model: "m",
  calibration: "c.txt",
  validation_samples: 0,
  samples: 1,
  allocate: "uniform",
  text: "t.txt",
  seqlen: 8,
  windows: 1,
  dense: 10,
  points: [
    { method: "sparsegpt", pattern: "unstructured", sparsity: 0.3, perplexity: 11, seconds: 1 },
    { method: "sparsegpt", pattern: "unstructured", sparsity: 0.125, perplexity: 10.5, seconds: 1 },
    { method: "magnitude", pattern: "unstructured", sparsity: 0.3, perplexity: Infinity, seconds: 1 },
    { method: "magnitude", pattern: "2:4", sparsity: 0.5, perplexity: 33, seconds: 1 },
  ],
};

describe("sweepTable()", () => {
  it("has one row per sparsity or pattern, one column per method, and a dash where nothing was measured", () => {
    const cells = sweepTable(SWEEP).split("\n").filter((line) => line.startsWith("│"))
      .map((line) => line.split("│").slice(1, -1).map((cell) => cell.trim()));
    assert.deepEqual(cells, [
      ["perplexity", "sparsegpt", "magnitude"],
      ["dense", "10.00", "10.00"],
      ["30 %", "11.00", "Infinity"],
      ["12.5 %", "10.50", "–"],
      ["2:4", "–", "33.00"],
    ]);
  });
});

describe("settingName()", () => {
  it("rounds a percentage, so that the error of binary fractions does not show", () => {
    assert.equal(settingName({ method: "magnitude", pattern: "unstructured", sparsity: 0.07 }), "7 %");
  });
});

describe("sweepChart()", () => {
  const texts = (svg: string) =>
    [...new DOMParser().parseFromString(svg, "image/svg+xml").querySelectorAll("text")].map((element) =>
      element.textContent
    );

  it("draws one line per method and one square per pattern, and leaves out perplexities that are not finite", () => {
    const svg = sweepChart(SWEEP);
    assert.ok(svg.startsWith("<svg") && svg.includes('xmlns="http://www.w3.org/2000/svg"'));
    for (const label of ["dense", "sparsegpt", "2:4"]) assert.ok(texts(svg).includes(label), label);
    assert.ok(!svg.includes("NaN") && !svg.includes("Infinity"));
  });

  it("draws no warning sign on a sweep with one sparsity per method", () => {
    const points = SWEEP.points.filter(({ sparsity }) => sparsity === 0.3).map((point) => (
      { ...point, perplexity: 11 }
    ));
    assert.ok(!texts(sweepChart({ ...SWEEP, points })).some((text) => text.includes("⚠")));
  });

  it("draws a sweep that has only patterns", () => {
    const svg = sweepChart({ ...SWEEP, points: SWEEP.points.slice(-1) });
    assert.ok(texts(svg).includes("2:4"));
    assert.ok(!svg.includes("NaN"));
  });
});
