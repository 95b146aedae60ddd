/** Tests the chart that shows how many times as fast as PyTorch each layer was solved. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ratioChart } from "../../../scripts/bench/layers/ratio_chart.ts";
import { LAYER } from "./layer_result.ts";

const LAYERS = [LAYER, { ...LAYER, cols: 400, reference: { ...LAYER.reference!, speedup: 6 } }];

describe("ratioChart", () => {
  it("draws one bar per size, with a length proportional to the ratio", () => {
    const svg = ratioChart(LAYERS);
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" /);
    for (const label of ["1000 × 800", "1000 × 400", "3.0", "6.0"]) {
      assert.ok(svg.includes(`>${label}<`), label);
    }
    const bars = [...svg.matchAll(/<rect [^>]*?width="([\d.]+)"/g)].map(([, width]) => Number(width));
    assert.equal(bars.length, 2);
    assert.ok(Math.abs(bars[1] / bars[0] - 2) < 1e-9, `widths ${bars}`);
  });

  it("draws a bar of its own for a library, which it names without its version", () => {
    const svg = ratioChart([LAYER, { ...LAYER, library: "OpenBLAS 0.3.29 SkylakeX" }]);
    assert.ok(svg.includes(">1000 × 800<") && svg.includes(">1000 × 800, OpenBLAS<"));
    assert.equal([...svg.matchAll(/<rect /g)].length, 2);
  });

  it("returns the same text for the same results", () =>
    assert.equal(ratioChart(LAYERS), ratioChart(LAYERS)));

  it("omits sizes that PyTorch did not solve, and throws if PyTorch solved none", () => {
    const unreferenced = { ...LAYER, rows: 7, reference: undefined };
    assert.ok(!ratioChart([...LAYERS, unreferenced]).includes("7 × 800"));
    assert.throws(() => ratioChart([unreferenced]), /timed together with PyTorch/);
  });
});
