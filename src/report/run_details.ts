/**
 * The settings and the environment of a run, as pairs of a name and a value. They are all that is needed to
 * repeat the run.
 */

import { createElement, type Page, type PageElement } from "./dom.ts";
import type { RunReport } from "./run_report.ts";

/** Renders the pairs as a description list, including the names of the weights that were not pruned. */
export function renderRunDetails(document: Page, run: RunReport): PageElement {
  const make = createElement.bind(null, document);
  const { model, calibration, allocation, backend, adapter } = run;
  const seed = calibration.seed === null ? "evenly spaced" : `drawn with seed ${calibration.seed}`;
  const pairs: [string, string][] = [
    ["Model", `${model.name}: ${model.model_type}, ${model.blocks} blocks of width ${model.hidden_size}`],
    ...Object.entries(run.parameters).map(([name, value]): [string, string] => [name, valueText(value)]),
    ...allocation ? [["Allocation", allocation.notes.join(" ")] as [string, string]] : [],
    [
      "Calibration",
      `${calibration.samples} windows of ${calibration.seqlen} tokens of ${calibration.text}, ${seed}`,
    ],
    ["Computed on", backend === adapter ? backend : `${backend}: ${adapter}`],
    ["Not pruned", run.skipped.length === 0 ? "no layer was skipped" : run.skipped.join(", ")],
    ["Written by", `Pare ${run.version}, ${run.finished.replace("T", " ").replace(/\.\d+Z$/, " UTC")}`],
  ];
  return make(
    "dl",
    { class: "details" },
    pairs.map(([name, value]) => make("div", {}, [make("dt", {}, [name]), make("dd", {}, [value])])),
  );
}

function valueText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
