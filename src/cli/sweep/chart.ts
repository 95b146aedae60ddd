/** Draws a sweep like the figure in the paper: perplexity on a logarithmic scale over sparsity, with one line per method. No browser is needed. */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import type { Sweep } from "./results.ts";

/** The background is opaque, so that the chart is readable on dark pages. */
const STYLE = { background: "white", color: "black", fontFamily: "system-ui, sans-serif" };

/** Returns the chart as the text of an SVG file. */
export function sweepChart({ dense, points }: Sweep): string {
  const drawable = points.filter(({ perplexity }) => Number.isFinite(perplexity));
  const unstructured = drawable.filter(({ pattern }) => pattern === "unstructured")
    .toSorted((a, b) => a.sparsity - b.sparsity);
  const patterned = drawable.filter(({ pattern }) => pattern !== "unstructured");
  const place = { x: "sparsity", y: "perplexity" };
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
      Plot.lineY(unstructured, { ...place, stroke: "method" }),
      Plot.dot(unstructured, { ...place, fill: "method" }),
      Plot.text(
        unstructured,
        Plot.selectLast({
          ...place,
          z: "method",
          fill: "method",
          text: "method",
          textAnchor: "start",
          dx: 8,
        }),
      ),
      Plot.dot(patterned, { ...place, stroke: "method", symbol: "square", r: 5 }),
      Plot.text(patterned, { ...place, text: "pattern", fill: "method", textAnchor: "end", dx: -9 }),
    ],
  });
  chart.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${chart.outerHTML}\n`;
}
