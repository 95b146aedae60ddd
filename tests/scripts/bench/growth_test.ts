/** Tests the growth bench: its line, its flop counts, its repetitions, its table and its chart. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { growthChart } from "../../../scripts/bench/growth/chart.ts";
import { compareWithLine } from "../../../scripts/bench/growth/flop_line.ts";
import { modelFlops } from "../../../scripts/bench/growth/model_growth.ts";
import { repeatWithin } from "../../../scripts/bench/growth/repeat_within.ts";
import { growthTable } from "../../../scripts/bench/growth/table.ts";

const point = (size: string, gflop: number, seconds: number) => ({
  size,
  flops: gflop * 1e9,
  seconds,
  peakBytes: 2 ** 30,
  runs: 3,
});
/** Rates of 50, 100 and 80 GFLOP/s, so the ratios to the line are 2, 1 and 1.25. */
const POINTS = [point("small", 1, 0.02), point("middle", 100, 1), point("large", 1000, 12.5)];

describe("compareWithLine", () => {
  it("gives the best size 1, and marks sizes that take more than 1.5 times as long as at its rate", () => {
    const compared = compareWithLine(POINTS);
    assert.deepEqual(compared.map(({ ratio }) => Number(ratio.toFixed(9))), [2, 1, 1.25]);
    assert.deepEqual(compared.map(({ marked }) => marked), [true, false, false]);
  });

  it("does not mark a size at exactly 1.5", () => {
    const [, edge] = compareWithLine([point("best", 3, 1), point("edge", 2, 1)]);
    assert.deepEqual([edge.ratio, edge.marked], [1.5, false]);
  });
});

describe("modelFlops", () => {
  it("is proportional to the blocks, and grows with the windows by a constant amount", () => {
    const flops = (blocks: number, windows: number) => modelFlops({ blocks, windows });
    assert.ok(Math.abs(flops(48, 64) / flops(4, 64) - 12) < 1e-12);
    const [first, second] = [flops(12, 32) - flops(12, 16), flops(12, 48) - flops(12, 32)];
    assert.ok(Math.abs(first / second - 1) < 1e-9);
    // 16 windows of 128 tokens through 12 blocks: 4 flops per weight and token, and n² flops per token and input.
    const weights = 12 * (4 * 256 * 256 + 2 * 256 * 1024);
    const inputs = 12 * (3 * 256 ** 2 + 1024 ** 2);
    assert.equal(first, 16 * 128 * (4 * weights + inputs));
  });
});

describe("repeatWithin", () => {
  it("stops after the repetitions, or when the budget is spent, but measures once at least", async () => {
    let clock = 0;
    const count = async (repeat: number, budgetSeconds: number, each: number) =>
      (await repeatWithin({ repeat, budgetSeconds }, () => Promise.resolve(clock += each), () => clock))
        .length;
    assert.equal(await count(5, 100, 1), 5);
    assert.equal(await count(5, 10, 4), 3);
    assert.equal(await count(5, 10, 60), 1);
  });
});

describe("growthTable", () => {
  const refused = [{ size: "huge", reason: "the layer needs 5 GiB" }];
  const lines = growthTable({ loadAverage: 1.25, series: [{ title: "one layer", points: POINTS, refused }] })
    .split("\n");

  it("marks the sizes far above the line", () => {
    assert.equal(lines[2], "| one layer | small | 1.00 | 0.0200 | 50.0 | 1024 | 2.00 | ▲ |");
    assert.equal(lines[4], "|  | large | 1.00e+3 | 12.5 | 80.0 | 1024 | 1.25 |  |");
  });

  it("shows a size that was refused with its reason", () => {
    assert.ok(lines[5].startsWith("|  | huge | – | – |"), lines[5]);
    assert.ok(lines.includes("Not measured: huge. The reason: the layer needs 5 GiB"));
  });
});

describe("growthChart", () => {
  const svg = growthChart({ series: [{ title: "one layer", points: POINTS, refused: [] }] });

  it("draws one dot per size, and those far above the line as rings", () => {
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" /);
    assert.equal(svg.match(/<circle /g)?.length, 3);
    assert.equal(svg.match(/<g [^>]*fill="white"[^>]*>\s*<circle [^>]*>\s*<\/g>/g)?.length, 1, "one ring");
    assert.ok(svg.includes(">one layer<"));
  });

  it("puts the best size on the dashed line, and the others above it", () => {
    const line = /<g [^>]*aria-label="line"[^>]*>\s*<path d="M([^"]+)"/.exec(svg);
    assert.ok(line, svg);
    const [[x0, y0], [x1, y1]] = line[1].split("L").map((pair) => pair.split(",").map(Number));
    const centre = (circle: string, name: string) =>
      Number(new RegExp(`${name}="([\\d.]+)"`).exec(circle)?.[1]);
    // How far each dot is above the line, from left to right.
    const heights = (svg.match(/<circle [^>]*>/g) ?? [])
      .map((circle) => ({ x: centre(circle, "cx"), y: centre(circle, "cy") }))
      .toSorted((a, b) => a.x - b.x)
      .map(({ x, y }) => y0 + (x - x0) * (y1 - y0) / (x1 - x0) - y);
    assert.equal(heights.length, 3);
    assert.ok(heights[0] > 1 && Math.abs(heights[1]) < 0.01 && heights[2] > 0.1, String(heights));
  });
});
