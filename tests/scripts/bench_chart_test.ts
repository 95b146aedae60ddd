/** The chart of the ratios: a bar a size, well-formed, and the same for the same results. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ratioChart } from "../../scripts/bench/chart.ts";
import { LAYER } from "./bench_result.ts";

const LAYERS = [LAYER, { ...LAYER, cols: 400, reference: { ...LAYER.reference!, speedup: 6 } }];

describe("ratioChart", () => {
  it("draws a bar a size, as long as its ratio", () => {
    const svg = ratioChart(LAYERS);
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" /);
    for (const label of ["1000 × 800", "1000 × 400", "3.0", "6.0"]) {
      assert.ok(svg.includes(`>${label}<`), label);
    }
    const bars = [...svg.matchAll(/<rect [^>]*?width="([\d.]+)"/g)].map(([, width]) => Number(width));
    assert.equal(bars.length, 2);
    assert.ok(Math.abs(bars[1] / bars[0] - 2) < 1e-9, `widths ${bars}`);
  });

  it("is the same for the same results", () => assert.equal(ratioChart(LAYERS), ratioChart(LAYERS)));

  it("leaves out sizes without a reference, and refuses to draw none", () => {
    const alone = { ...LAYER, rows: 7, reference: undefined };
    assert.ok(!ratioChart([...LAYERS, alone]).includes("7 × 800"));
    assert.throws(() => ratioChart([alone]), /timed beside PyTorch/);
  });
});
