/** The ratios to the reference as an SVG, drawn without a browser: a bar a layer size, a rule at 1. It times nothing. */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import type { LayerResult } from "./bench_layer.ts";

/** Opaque, so that it reads on a dark page too. */
const STYLE = { background: "white", color: "black", fontFamily: "system-ui, sans-serif" };

/** An SVG file. @throws {Error} no layer has a reference to compare with */
export function ratioChart(layers: readonly LayerResult[]): string {
  const bars = layers.flatMap(({ rows, cols, reference }) =>
    reference ? [{ size: `${rows} × ${cols}`, speedup: reference.speedup }] : []
  );
  if (bars.length === 0) throw new Error("the chart needs layers timed beside PyTorch");
  const document = new DOMParser().parseFromString("<html></html>", "text/html");
  const chart = Plot.plot({
    document,
    style: STYLE,
    width: 640,
    marginLeft: 100,
    marginRight: 48,
    x: { label: "times as fast as PyTorch →", domain: [0, Math.max(1, ...bars.map((bar) => bar.speedup))] },
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
