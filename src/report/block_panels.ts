/**
 * Bars by block, a panel a series, all on one scale: what every chart of the report is. A panel carries its name, so
 * that no colour has to be told from another. It is drawn at the width of a phone and scales with its column.
 */

import * as Plot from "@observablehq/plot";
import type { Page, PageElement } from "./dom.ts";

/** One bar. */
export interface BlockValue {
  /** The panel it is in. */
  readonly series: string;
  /** The transformer block, from 0. */
  readonly block: number;
  readonly value: number;
}

/** What a chart says of itself. */
export interface PanelsOptions {
  readonly document: Page;
  /** Names the chart; unique in the page. */
  readonly id: string;
  readonly title: string;
  /** The chart in words, for those who do not see it. */
  readonly description: string;
  /** How many blocks the model has, drawn or not. */
  readonly blocks: number;
  /** The top of the scale; without it, the greatest value. */
  readonly most?: number;
  format(value: number): string;
}

const WIDTH = 340, PANEL_HEIGHT = 84;
const MARGIN = { top: 10, bottom: 34, left: 46 };

/** The chart as an SVG element of `document`. */
export function blockPanels(values: readonly BlockValue[], options: PanelsOptions): PageElement {
  const { document, blocks, format } = options;
  const series = [...new Set(values.map((value) => value.series))];
  const most = options.most ?? Math.max(...values.map(({ value }) => value));
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
    y: { domain: [0, most || 1], nice: 4, label: null, grid: true, ticks: 2 },
    fy: { domain: series, label: null, axis: null, padding: 0.36 },
    marks: [
      Plot.axisX({ ticks: blockTicks(blocks), tickSize: 0, label: "block", labelArrow: "none" }),
      Plot.axisY({ ticks: 2, tickFormat: format, tickSize: 0, label: null }),
      Plot.barY(values, { x: "block", y: "value", fy: "series", fill: "var(--bar)" }),
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
  describe(svg, options);
  return svg as PageElement;
}

/** Labels from 0 at even steps, few enough for a phone. */
function blockTicks(blocks: number): number[] {
  const step = [1, 2, 5, 10, 20, 50].find((step) => blocks / step <= 8) ?? Math.ceil(blocks / 8);
  return Array.from({ length: Math.ceil(blocks / step) }, (_, index) => index * step);
}

function describe(svg: PageElement, { document, id, title, description }: PanelsOptions): void {
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-labelledby", `${id}-title ${id}-desc`);
  for (const [tag, text] of [["desc", description], ["title", title]]) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    made.setAttribute("id", `${id}-${tag}`);
    made.append(text);
    svg.prepend(made);
  }
}
