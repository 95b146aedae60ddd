/** The settings and the environment of a run, as pairs of a name and a value. They are all that is needed to repeat the run. */

import { createElement, type Page, type PageElement } from "./dom.ts";
import type { RunReport } from "./run_report.ts";

/** Renders the pairs as a description list, including the names of the weights that were not pruned. */
export function renderRunDetails(document: Page, run: RunReport): PageElement {
  const make = createElement.bind(null, document);
  const { model, calibration, allocation, backend, adapter } = run;
  const seed = calibration.seed === null ? "evenly spaced" : `drawn with seed ${calibration.seed}`;
  const pairs: [string, string][] = [
    ["Model", `${model.name}: ${model.model_type}, ${model.blocks} blocks of width ${model.hidden_size}`],
    ...Object.entries(run.parameters).map((
      [name, value],
    ): [string, string] => [titleOf(name), valueText(value)]),
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

/** Renders the command line that repeats the run. Returns undefined if another program than the command line has pruned the model. */
export function renderCommand(document: Page, { command }: RunReport): PageElement | undefined {
  if (command === undefined) return undefined;
  const make = createElement.bind(null, document);
  return make("div", { class: "command" }, [
    make("p", { class: "note" }, ["This command repeats the run. Files are named without their folders."]),
    make("pre", { class: "scroll", tabindex: "0", "aria-label": "Command" }, [make("code", {}, [command])]),
  ]);
}

/** Returns the name of a parameter as a title: `group_size` becomes `Group size`. */
function titleOf(parameter: string): string {
  return parameter.charAt(0).toUpperCase() + parameter.slice(1).replaceAll("_", " ");
}

function valueText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
