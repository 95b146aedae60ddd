/** How the run was made, in pairs of name and value: enough to make it again. */

import { element, type Page, type PageElement } from "./dom.ts";
import type { RunReport } from "./run_report.ts";

/** The details as a description list, and the weights left dense. */
export function runDetails(document: Page, run: RunReport): PageElement {
  const make = element.bind(null, document);
  const { model, calibration, backend, adapter } = run;
  const seed = calibration.seed === null ? "evenly spaced" : `drawn with seed ${calibration.seed}`;
  const pairs: [string, string][] = [
    ["Model", `${model.name}: ${model.model_type}, ${model.blocks} blocks of width ${model.hidden_size}`],
    ...Object.entries(run.parameters).map(([name, value]): [string, string] => [name, text(value)]),
    [
      "Calibration",
      `${calibration.samples} windows of ${calibration.seqlen} tokens of ${calibration.text}, ${seed}`,
    ],
    ["Computed on", backend === adapter ? backend : `${backend}: ${adapter}`],
    ["Left dense", run.skipped.length === 0 ? "nothing that could be pruned" : run.skipped.join(", ")],
    ["Written by", `Pare ${run.version}, ${run.finished.replace("T", " ").replace(/\.\d+Z$/, " UTC")}`],
  ];
  return make(
    "dl",
    { class: "details" },
    pairs.map(([name, value]) => make("div", {}, [make("dt", {}, [name]), make("dd", {}, [value])])),
  );
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
