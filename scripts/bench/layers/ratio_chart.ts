/**
 * Draws a bar chart that shows how many times as fast as PyTorch each layer was solved. The chart is an SVG
 * file, and drawing it needs no browser.
 */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import { formatSize } from "../report/markdown_table.ts";
import type { LayerResult } from "./bench_layer.ts";

/** The background is opaque, so that the chart is readable on a dark page. */
const STYLE = { background: "white", color: "black", fontFamily: "system-ui, sans-serif" };

/**
 * Draws one bar per layer and library that PyTorch (the reference) has solved as well, and a dashed line at 1.
 * @returns the text of an SVG file
 * @throws {Error} if no layer has a reference
 */
export function ratioChart(layers: readonly LayerResult[]): string {
  const bars = layers.flatMap(({ rows, cols, library, reference }) => {
    const name = library?.split(" ")[0]; // the library without its version
    const size = formatSize({ rows, cols }) + (name ? `, ${name}` : "");
    return reference ? [{ size, speedup: reference.speedup }] : [];
  });
  if (bars.length === 0) throw new Error("the chart needs layers that were timed together with PyTorch");
  const document = new DOMParser().parseFromString("<html></html>", "text/html");
  const chart = Plot.plot({
    document,
    style: STYLE,
    width: 640,
    marginLeft: 180,
    marginRight: 48,
    x: {
      label: "times as fast as PyTorch in its fastest setting →",
      domain: [0, Math.max(1, ...bars.map((bar) => bar.speedup))],
    },
    y: { label: null, domain: bars.map((bar) => bar.size) },
    marks: [
      Plot.barX(bars, { x: "speedup", y: "size", fill: "#4269d0" }),
      Plot.text(bars, {
        x: "speedup",
        y: "size",
        text: (bar: { speedup: number }) => bar.speedup.toFixed(1),
        textAnchor: "start",
        dx: 6,
      }),
      Plot.ruleX([1], { stroke: "#555", strokeDasharray: "4 3" }),
    ],
  });
  chart.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${chart.outerHTML}\n`;
}
