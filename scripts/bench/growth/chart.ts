/**
 * Draws the times of the growth bench against the flop count, both on logarithmic scales. The dashed line of
 * each series shows the times that all sizes would have at the rate of the best size. The chart is an SVG file,
 * and drawing it needs no browser.
 */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import { bestRate, compareWithLine, MARKED_RATIO } from "./flop_line.ts";
import type { GrowthResults } from "./growth_results.ts";

/** The background is opaque, so that the chart is readable on a dark page. */
const STYLE = { background: "white", color: "black", fontFamily: "system-ui, sans-serif" };
const COLOURS = ["#4269d0", "#ff725c", "#3ca951", "#a463f2"];

/** A size in the chart. */
interface Dot {
  readonly title: string;
  readonly gflop: number;
  readonly seconds: number;
  readonly marked: boolean;
}

/**
 * Draws one dot per size. Sizes far above their line are rings.
 * @returns the text of an SVG file
 */
export function growthChart({ series }: Pick<GrowthResults, "series">): string {
  const dots = series.flatMap(({ title, points }): Dot[] =>
    compareWithLine(points).map(({ flops, seconds, marked }) => ({
      title,
      gflop: flops / 1e9,
      seconds,
      marked,
    }))
  );
  const ends = series.flatMap(({ title, points }) => {
    const flops = points.map((point) => point.flops), rate = bestRate(points);
    return [Math.min(...flops), Math.max(...flops)].map((end) => ({
      title,
      gflop: end / 1e9,
      seconds: end / rate,
    }));
  });
  const at = { x: "gflop", y: "seconds" };
  const document = new DOMParser().parseFromString("<html></html>", "text/html");
  // Without a `figure`, the chart has no legend, so each series is named at its largest size.
  const names = series.flatMap(({ title }) => dots.filter((dot) => dot.title === title).slice(-1));
  const chart = Plot.plot({
    document,
    style: STYLE,
    width: 720,
    height: 480,
    marginLeft: 60,
    marginRight: 130,
    grid: true,
    x: { type: "log", label: "GFLOP →" },
    y: { type: "log", label: `↑ seconds (dashed: the best rate; rings: over ${MARKED_RATIO} times as long)` },
    color: { domain: series.map(({ title }) => title), range: COLOURS },
    marks: [
      Plot.line(ends, { x: "gflop", y: "seconds", stroke: "title", strokeDasharray: "4 3" }),
      Plot.dot(dots, { ...at, filter: (dot: Dot) => !dot.marked, fill: "title", stroke: "title", r: 4 }),
      Plot.dot(dots, { ...at, filter: (dot: Dot) => dot.marked, fill: "white", stroke: "title", r: 4 }),
      Plot.text(names, {
        x: "gflop",
        y: "seconds",
        text: "title",
        fill: "title",
        textAnchor: "start",
        dx: 8,
      }),
    ],
  });
  chart.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${chart.outerHTML}\n`;
}
