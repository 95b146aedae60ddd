/**
 * `report.html`: a run on one page, for a screen of any width and for paper. The file is whole: it asks for nothing
 * from a network and runs no script, which its content security policy states. What it shows is all in `pare.json`.
 */

import { type Child, element, emptyPage, type Page, type PageElement, pageTitle } from "./dom.ts";
import { errorChart } from "./error_chart.ts";
import { formatNumber, formatShare } from "./format.ts";
import { keyFigures } from "./key_figures.ts";
import { layerTable } from "./layer_table.ts";
import { runDetails } from "./run_details.ts";
import { RUN_REPORT_FILE, type RunReport } from "./run_report.ts";
import { sparsityChart } from "./sparsity_chart.ts";
import style from "./style.css" with { type: "text" };
import { timeChart, timeDescription } from "./time_chart.ts";
import { totals } from "./summary.ts";

/** The page as HTML text. The same run makes the same text. */
export function renderReport(run: RunReport): string {
  const document = emptyPage();
  const make = element.bind(null, document);
  const title = `${run.model.name}, pruned`;
  document.head.append(
    make("meta", { charset: "utf-8" }),
    make("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    make("meta", { name: "color-scheme", content: "light dark" }),
    make("meta", {
      "http-equiv": "Content-Security-Policy",
      content: "default-src 'none'; style-src 'unsafe-inline'",
    }),
    pageTitle(document, title),
    make("style", {}, [style]),
  );
  document.body.append(make("main", {}, [
    make("header", {}, [make("h1", {}, [title]), make("p", {}, [lead(run)])]),
    keyFigures(document, run),
    charts(document, run),
    section("Layers", [
      make("p", { class: "note" }, ["Error is the relative error; time is without calibration."]),
      layerTable(document, run),
    ]),
    section("How it was made", [runDetails(document, run)]),
    make("footer", {}, [`The figures of this page are in ${RUN_REPORT_FILE} beside it.`]),
  ]));
  return document.toString();

  function section(heading: string, children: readonly Child[]): PageElement {
    return make("section", {}, [make("h2", {}, [heading]), ...children]);
  }
}

function charts(document: Page, run: RunReport): PageElement {
  const make = element.bind(null, document);
  const figure = (heading: string, chart: PageElement | undefined, caption: string) =>
    make("figure", {}, [
      make("h2", {}, [heading]),
      chart ?? make("p", { class: "note" }, ["Not measured in this run."]),
      chart && make("figcaption", {}, [caption]),
    ]);
  return make("section", { class: "charts", "aria-label": "Charts" }, [
    figure(
      "Relative error",
      errorChart(document, run),
      "What pruning changes in a layer's outputs on the calibration text, as a share of their energy.",
    ),
    figure("Sparsity", sparsityChart(document, run), "The share of a block's pruned weights that are zero."),
    figure(
      "Time",
      timeChart(document, run),
      `Seconds that a block's layers took, by phase. ${timeDescription(run)}`,
    ),
  ]);
}

function lead({ layers, model }: RunReport): string {
  const { zeros, entries } = totals(layers);
  const how = [...new Set(layers.map(({ method, pattern }) => `${method} ${pattern}`))].join(" and ");
  const errors = layers.flatMap(({ relative_error }) => relative_error ?? []);
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  return `${how || "nothing pruned"}: ${
    formatShare(entries === 0 ? 0 : zeros / entries)
  } of the weights in ` +
    `${layers.length} layers of ${model.blocks} blocks are zero` +
    (errors.length === 0 ? "." : `, at a mean relative error of ${formatNumber(mean)} a layer.`);
}
