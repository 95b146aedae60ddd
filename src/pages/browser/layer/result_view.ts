/** Shows a pruned layer: its error beside magnitude's, the mask, the weights, the report, and a download. */

import { encode, floatsFromTensor, type PrunedLayer, type Report } from "../../../client/mod.ts";
import { make, makeFigure } from "../dom.ts";
import { formatBytes, formatNumber, formatSeconds, formatShare } from "../format.ts";
import { BINS, distributionOf, drawHistogram, limitOf } from "./histogram.ts";
import type { LayerInput } from "./layer_input.ts";
import { maskSection } from "./mask_picture.ts";

/** The end of the names of files with layers. */
const EXTENSION = /\.safetensors$/;

/** The URL of the latest download. The browser holds its bytes until the next download revokes it. */
let downloadUrl: string | undefined;

/** Magnitude's error. `pending`: it is being computed. `same`: the result is magnitude's. `null`: it is unknown. */
export type Baseline = number | null | "pending" | "same";

/** The element of the errors in the latest result. */
let errors: HTMLElement;

/** Shows the result of `layer` in `place`. `showErrors` adds the errors. @param method the name for people */
export function showResult(place: HTMLElement, layer: LayerInput, result: PrunedLayer, method: string): void {
  const { report } = result, { pattern, sparsity } = report;
  errors = make("div");
  const aim = pattern === "unstructured" ? formatShare(sparsity) : pattern;
  place.replaceChildren(
    make("h2", {}, `Layer ${layer.name.replace(EXTENSION, "")}, pruned to ${aim} by ${method}`),
    errors,
    keyFigures(report),
    ...report.notes.map((note) => make("p", { class: "note" }, note)),
    downloadRow(layer, result),
    maskSection(result),
    weightFigure(layer, result),
    make("details", {}, make("summary", {}, "The whole report"), reportText(report)),
  );
}

/** Shows the error of the latest result beside magnitude's. Returns both in one sentence. */
export function showErrors({ relative_error: error }: Report, method: string, magnitude: Baseline): string {
  const rows: [string, number | null][] = [[method, error]];
  if (typeof magnitude === "number") rows.push(["Magnitude", magnitude]);
  const largest = Math.max(...rows.map(([, value]) => value ?? 0));
  errors.replaceChildren(
    make(
      "dl",
      { class: "errors", "aria-label": "Relative errors" },
      ...rows.map(([name, value]) => errorRow(name, value, largest)),
      ...magnitude === "pending" ? [errorRow("Magnitude", undefined, 1)] : [],
    ),
    make(
      "p",
      { class: "note" },
      "The relative error is the change of the layer’s outputs, squared, as a share of their squares.",
      comparison(error, magnitude),
    ),
  );
  return `Relative error: ${
    rows.map(([name, value]) => `${name} ${value === null ? "unknown" : formatNumber(value)}`).join(", ")
  }.`;
}

function errorRow(name: string, value: number | null | undefined, largest: number): HTMLElement {
  const text = value === undefined ? "…" : value === null ? "unknown" : formatNumber(value);
  const meter = make("meter", { "aria-hidden": "true", max: String(largest), value: String(value ?? 0) });
  return make("div", {}, make("dt", {}, name), make("dd", {}, text, meter));
}

/** Compares the error with magnitude's, where both are known. */
function comparison(error: number | null, magnitude: Baseline): string {
  if (typeof magnitude !== "number" || !error || magnitude === 0) return "";
  const ratio = formatNumber(magnitude / error, 2);
  return ` Magnitude keeps the largest weights and adjusts none of them. Its error is ${ratio} times as large.`;
}

function keyFigures(report: Report): HTMLElement {
  const { zeros, rows, cols, seconds, adapter, backend } = report;
  const figures: [string, string, string][] = [
    [
      "Zeros",
      formatShare(zeros / (rows * cols)),
      `${zeros.toLocaleString("en")} of ${(rows * cols).toLocaleString("en")}`,
    ],
    ["Time", formatSeconds(seconds.total), `on ${adapter} (${backend})`],
  ];
  return make(
    "dl",
    { class: "figures" },
    ...figures.map(([name, value, note]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value), make("dd", { class: "note" }, note))
    ),
  );
}

function downloadRow(layer: LayerInput, { quantized, report, ...tensors }: PrunedLayer): HTMLElement {
  const bytes = encode({ ...tensors, ...quantized }, { report: JSON.stringify(report) });
  if (downloadUrl !== undefined) URL.revokeObjectURL(downloadUrl);
  const url = downloadUrl = URL.createObjectURL(new Blob([bytes], { type: "application/vnd.safetensors" }));
  const name = `${layer.name.replace(EXTENSION, "")}.pruned.safetensors`;
  return make(
    "p",
    { class: "row" },
    make("a", { class: "button", id: "download", href: url, download: name }, "Download the pruned layer"),
    make("span", { class: "note" }, `${formatBytes(bytes.byteLength)}, safetensors`),
  );
}

function weightFigure(layer: LayerInput, { weight }: PrunedLayer): HTMLElement {
  const before = floatsFromTensor(layer.tensors.weight),
    after = floatsFromTensor(weight),
    limit = limitOf(before);
  const afterwards = distributionOf(after, limit, BINS);
  return make(
    "section",
    {},
    make("h2", {}, "Weights"),
    makeFigure(
      drawHistogram(distributionOf(before, limit, BINS), afterwards),
      `The number of weights by value, before (line) and after (bars). The ${
        afterwards.zeros.toLocaleString("en")
      } weights that are now zero are not drawn.`,
    ),
  );
}

function reportText(report: Report): HTMLElement {
  return make(
    "pre",
    { tabindex: "0", id: "report", "aria-label": "The report as JSON" },
    JSON.stringify(report, null, 2),
  );
}
