/**
 * Renders `report.html`, a page about one run of `pare prune`, for screens of any width and for paper. The
 * page is self-contained: it loads nothing from a network and runs no script, and its content security policy
 * forbids network requests and scripts. Everything on the page comes from `pare.json`.
 */

import colours from "../../pages/style/colours.css" with { type: "text" };
import style from "./style.css" with { type: "text" };
import { createElement, createTitle, emptyPage, type Page, type PageChild, type PageElement } from "./dom.ts";
import { drawErrorChart, drawSparsityChart, drawTimeChart, timeDescription } from "./charts.ts";
import { countText, numberText, shareText } from "./format.ts";
import { renderKeyFigures } from "./key_figures.ts";
import { renderLayerTables } from "./layer_table.ts";
import { renderCommand, renderRunDetails } from "./run_details.ts";
import { RUN_REPORT_FILE } from "./file_names.ts";
import type { RunReport } from "./run_report.ts";
import { layersWithFewTokens, meanError, roundedBits, sparsityOf } from "./summary.ts";

/** Renders the page as HTML text. The same run always gives the same text. */
export function renderReport(run: RunReport): string {
  const document = emptyPage();
  const make = createElement.bind(null, document);
  const bits = roundedBits(run), isPruned = run.layers.some(({ zeros }) => zeros > 0);
  const done = [
    ...isPruned || bits === undefined ? ["pruned"] : [],
    ...bits === undefined ? [] : ["rounded"],
  ];
  const title = `${run.model.name}, ${done.join(" and ")}`;
  document.head.append(
    make("meta", { charset: "utf-8" }),
    make("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    make("meta", { name: "color-scheme", content: "light dark" }),
    make("meta", {
      "http-equiv": "Content-Security-Policy",
      content: "default-src 'none'; style-src 'unsafe-inline'",
    }),
    createTitle(document, title),
    make("style", {}, [colours + style]),
  );
  document.body.append(make("main", {}, [
    make("header", {}, [
      make("p", { class: "brand" }, ["Pare"]),
      make("h1", {}, [title]),
      make("p", { class: "lead" }, [summarySentence(run)]),
    ]),
    renderKeyFigures(document, run),
    section("Details of the run", [renderRunDetails(document, run), renderCommand(document, run)]),
    renderCharts(document, run),
    section("Layers", [
      make("p", { class: "note" }, ["Error is the relative error. Time does not include calibration."]),
      ...fewTokensNote(run).map((text) => make("p", { class: "note" }, [text])),
      ...renderLayerTables(document, run),
    ]),
    make("footer", {}, [`The data of this page is in the file ${RUN_REPORT_FILE} in the same folder.`]),
  ]));
  return document.toString();

  function section(heading: string, children: readonly PageChild[]): PageElement {
    return make("section", {}, [make("h2", {}, [heading]), ...children]);
  }
}

function renderCharts(document: Page, run: RunReport): PageElement {
  const make = createElement.bind(null, document);
  const figure = (heading: string, chart: PageElement, caption: string) =>
    make("figure", {}, [make("h2", {}, [heading]), chart, make("figcaption", {}, [caption])]);
  const error = drawErrorChart(document, run),
    sparsity = drawSparsityChart(document, run),
    time = drawTimeChart(document, run);
  return make("section", { class: "charts", "aria-label": "Charts" }, [
    error && figure(
      "Relative error",
      error,
      "The squared error that pruning causes in a layer's outputs on the calibration text, " +
        "divided by the squared norm of the outputs.",
    ),
    sparsity && figure("Sparsity", sparsity, "The fraction of zeros among the weights of the pruned layers."),
    time &&
    figure("Time", time, `The seconds spent on the layers of each block, by phase. ${timeDescription(run)}`),
  ]);
}

/** The warning about layers with few calibration tokens, if there are any. */
function fewTokensNote({ layers }: RunReport): string[] {
  const few = layersWithFewTokens(layers), unreached = few.filter(({ tokens }) => tokens === 0).length;
  if (few.length === 0) return [];
  return [
    `Warning: ${few.length} layers were reached by fewer calibration tokens than they have columns, and ` +
    `${unreached} of them by none. Their statistics say little, so they were pruned with the largest damping, or by ` +
    "magnitude if no token reached them. A longer calibration text reaches more experts.",
  ];
}

/** The sentence under the heading: the method, the sparsity, the rounding and the mean error. */
function summarySentence(run: RunReport): string {
  const { layers, model } = run, bits = roundedBits(run), error = meanError(layers);
  const methods = [...new Set(layers.map(({ method, pattern }) => `${method} ${pattern}`))].join(" and ");
  return `${methods || "nothing pruned"}: ${shareText(sparsityOf(layers))} of the weights in ` +
    `${countText(layers.length)} layers of ${model.blocks} blocks are zero` +
    (bits === undefined ? "" : `, and the others are rounded to ${bits} bits`) +
    (error === null ? "." : `. The mean relative error of a layer is ${numberText(error)}.`);
}
