/**
 * Draws the results of `pare sweep` like the figure in the SparseGPT paper: perplexity on a logarithmic scale over sparsity, with one line
 * per method. The drawing library needs an HTML document, which the linkedom library provides without a browser.
 */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import type { Sweep } from "./results.ts";

/** The background is opaque, so that the chart is readable on dark pages. */
const STYLE = { background: "white", color: "black", fontFamily: "system-ui, sans-serif" };

/** Returns the chart as the text of an SVG file. Points whose perplexity is not finite are left out. */
export function sweepChart({ dense, points }: Sweep): string {
  const drawable = points.filter(({ perplexity }) => Number.isFinite(perplexity));
  const unstructured = drawable.filter(({ pattern }) => pattern === "unstructured")
    .toSorted((a, b) => a.sparsity - b.sparsity);
  const patterned = drawable.filter(({ pattern }) => pattern !== "unstructured");
  const axes = { x: "sparsity", y: "perplexity" };
  const document = new DOMParser().parseFromString("<html></html>", "text/html");
  const chart = Plot.plot({
    document,
    style: STYLE,
    width: 640,
    height: 400,
    marginLeft: 56,
    marginRight: 72,
    grid: true,
    x: { label: "sparsity →", tickFormat: (fraction: number) => `${Math.round(100 * fraction)} %` },
    y: { label: "↑ perplexity", type: "log" },
    color: {
      domain: [...new Set(points.map(({ method }) => method))],
      range: ["#4269d0", "#ff725c", "#3ca951"],
    },
    marks: [
      Plot.ruleY([dense], { stroke: "#555", strokeDasharray: "4 3" }),
      Plot.text([dense], { y: (value: number) => value, frameAnchor: "right", text: () => "dense", dx: 40 }),
      Plot.lineY(unstructured, { ...axes, z: "method", stroke: "method" }),
      Plot.dot(unstructured, { ...axes, fill: "method" }),
      Plot.text(
        unstructured,
        Plot.selectLast({
          ...axes,
          z: "method",
          fill: "method",
          text: "method",
          textAnchor: "start",
          dx: 8,
        }),
      ),
      Plot.dot(patterned, { ...axes, stroke: "method", symbol: "square", r: 5 }),
      Plot.text(patterned, { ...axes, text: "pattern", fill: "method", textAnchor: "end", dx: -9 }),
    ],
  });
  chart.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${chart.outerHTML}\n`;
}
