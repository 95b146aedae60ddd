/**
 * Draws the form that all charts of the report share: bar charts with one bar per transformer block. Every series, such as one kind of
 * layer, has its own panel. The panels are stacked, and all have the same scale. The name of the series is written in its panel, so readers
 * do not have to distinguish colours. The drawing is as wide as a phone and scales with the column of the page that holds it.
 */

import * as Plot from "@observablehq/plot";
import { DOMParser } from "linkedom";
import type { LayerRun } from "./run_report.ts";
import { layerKind } from "./summary.ts";

/** The part of the DOM interface `Document` that adds descriptions. */
interface Page {
  createElementNS(namespace: string, tag: string): PageElement;
}

/** The part of the DOM interface `Element` that adds descriptions. */
interface PageElement {
  readonly outerHTML: string;
  setAttribute(name: string, value: string): void;
  append(text: string): void;
  prepend(child: PageElement): void;
}

/** One bar. */
export interface BlockValue {
  /** The name of the series, which is also the title of its panel. */
  readonly series: string;
  /** The index of the transformer block, from 0. */
  readonly block: number;
  readonly value: number;
}

/** The texts and the scale of a chart. */
export interface PanelsOptions {
  /** A prefix for the ids of the elements of the chart. The prefix must be unique in the page. */
  readonly id: string;
  readonly title: string;
  /** A description of the chart for screen readers. */
  readonly description: string;
  /** The number of blocks of the model, including those without a bar. */
  readonly blocks: number;
  /** The upper end of the scale. @default the largest value */
  readonly max?: number;
  /** Formats the labels of the scale. */
  format(value: number): string;
}

const WIDTH = 340, PANEL_HEIGHT = 84;
const MARGIN = { top: 10, bottom: 34, left: 46 };

/** The number of panels that are drawn. The families of models have at most 10 kinds of layers, so only a malformed `pare.json` has more. */
const MAX_PANELS = 50;

/** Returns one value per kind of layer and block. `valueOf` returns the value of the layers of one kind in a block, or null if it has none. */
export function valuesByKind(
  layers: readonly LayerRun[],
  valueOf: (layers: readonly LayerRun[]) => number | null,
): BlockValue[] {
  return [...Map.groupBy(layers, layerKind)].slice(0, MAX_PANELS).flatMap(([series, ofKind]) =>
    [...Map.groupBy(ofKind, ({ block }) => block)].flatMap(([block, inBlock]) => {
      const value = valueOf(inBlock);
      return value === null ? [] : [{ series, block, value }];
    })
  );
}

/** Draws a chart. Returns the markup of an SVG element, in which all texts are escaped. */
export function drawBlockPanels(values: readonly BlockValue[], options: PanelsOptions): string {
  // The casts are necessary because linkedom and Plot use the types of browsers.
  const document = new DOMParser().parseFromString("<html></html>", "text/html") as unknown as Page;
  const { blocks, format } = options;
  const series = [...new Set(values.map((value) => value.series))];
  const max = options.max ?? values.reduce((most, { value }) => Math.max(most, value), 0);
  const svg = Plot.plot({
    document,
    width: WIDTH,
    height: MARGIN.top + MARGIN.bottom + PANEL_HEIGHT * series.length,
    marginTop: MARGIN.top,
    marginBottom: MARGIN.bottom,
    marginLeft: MARGIN.left,
    style: {
      background: "none",
      color: "currentColor",
      fontFamily: "inherit",
      fontSize: "12px",
      overflow: "visible",
    },
    x: {
      domain: Array.from({ length: blocks }, (_, block) => block),
      label: "block",
      labelAnchor: "center",
      labelArrow: "none",
      padding: blocks > 60 ? 0 : 0.2,
    },
    y: { domain: [0, max || 1], nice: 4, label: null, grid: true, ticks: 2 },
    fy: { domain: series, label: null, axis: null, padding: 0.36 },
    marks: [
      Plot.axisX({ ticks: blockTicks(blocks), tickSize: 0, label: "block", labelArrow: "none" }),
      Plot.axisY({ ticks: 2, tickFormat: format, tickSize: 0, label: null }),
      Plot.barY(values, { x: "block", y: "value", fy: "series", fill: "var(--accent)" }),
      Plot.ruleY([0], { strokeOpacity: 0.5 }),
      Plot.text(series, {
        fy: (name: string) => name,
        text: (name: string) => name,
        frameAnchor: "top-left",
        dy: -17,
        fontWeight: 600,
      }),
    ],
  });
  addDescription(document, svg as PageElement, options);
  return (svg as PageElement).outerHTML;
}

/** The indices of the blocks that are labelled on the axis. They are evenly spaced from 0, and few enough to fit on a phone. */
function blockTicks(blocks: number): number[] {
  const step = [1, 2, 5, 10, 20, 50].find((step) => blocks / step <= 8) ?? Math.ceil(blocks / 8);
  return Array.from({ length: Math.ceil(blocks / step) }, (_, index) => index * step);
}

/** Adds the title and the description for screen readers. */
function addDescription(document: Page, svg: PageElement, { id, title, description }: PanelsOptions): void {
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-labelledby", `${id}-title ${id}-desc`);
  for (const [tag, text] of [["desc", description], ["title", title]]) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    made.setAttribute("id", `${id}-${tag}`);
    made.append(text);
    svg.prepend(made);
  }
}
