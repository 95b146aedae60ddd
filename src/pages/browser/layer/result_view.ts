/** Shows a pruned layer: key figures, the mask, the weights before and after, the whole report, and a download. */

import { encode, floatsFromTensor, type PrunedLayer, type Report } from "../../../client/mod.ts";
import { make } from "../dom.ts";
import { formatBytes, formatNumber, formatSeconds, formatShare } from "../format.ts";
import { BINS, drawHistogram } from "./histogram.ts";
import type { LayerInput } from "./layer_input.ts";
import { blockOf, drawMask } from "./mask_picture.ts";
import { distributionOf, limitOf } from "./weights.ts";

/** The part of the mask that the close-up shows. */
const CLOSE_ROWS = 24, CLOSE_COLS = 48;

/** The URL of the latest download. It is revoked at the next one, because the browser keeps the bytes of the file for it. */
let downloadUrl: string | undefined;

/** Shows the result of `layer` in `place`. */
export function showResult(place: HTMLElement, layer: LayerInput, result: PrunedLayer): void {
  const { report } = result;
  place.replaceChildren(
    make("h2", {}, "Report"),
    keyFigures(report),
    ...report.notes.map((note) => make("p", { class: "note" }, note)),
    downloadRow(layer, result),
    maskFigures(result),
    weightFigure(layer, result),
    make("details", {}, make("summary", {}, "The whole report"), reportText(report)),
  );
}

function keyFigures(report: Report): HTMLElement {
  const { zeros, rows, cols, relative_error: error, damping, seconds, adapter, backend } = report;
  const figures: [string, string, string][] = [
    [
      "Zeros",
      formatShare(zeros / (rows * cols)),
      `${zeros.toLocaleString("en")} of ${(rows * cols).toLocaleString("en")}`,
    ],
    ["Relative error", error === null ? "unknown" : formatNumber(error), "of the squared outputs"],
    ["Time", formatSeconds(seconds.total), `of which the solve took ${formatSeconds(seconds.solve)}`],
    ["Damping", damping === null ? "none" : formatNumber(damping), "of the mean of the Hessian’s diagonal"],
  ];
  return make(
    "div",
    {},
    make(
      "dl",
      { class: "figures" },
      ...figures.map(([name, value, note]) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, value), make("dd", { class: "note" }, note))
      ),
    ),
    make("p", { class: "note" }, `${report.method}, ${report.pattern}, on ${adapter} (${backend}).`),
  );
}

function downloadRow(layer: LayerInput, { weight, mask, quantized, report }: PrunedLayer): HTMLElement {
  const bytes = encode({ weight, mask, ...quantized }, { report: JSON.stringify(report) });
  if (downloadUrl !== undefined) URL.revokeObjectURL(downloadUrl);
  const url = downloadUrl = URL.createObjectURL(new Blob([bytes], { type: "application/vnd.safetensors" }));
  const name = `${layer.name.replace(/\.safetensors$/, "")}.pruned.safetensors`;
  return make(
    "p",
    { class: "pair" },
    make("a", { class: "button", id: "download", href: url, download: name }, "Download the pruned layer"),
    make("span", { class: "note" }, `${formatBytes(bytes.byteLength)}, safetensors`),
  );
}

function maskFigures({ mask, report: { rows, cols } }: PrunedLayer): HTMLElement {
  const whole = { rows, cols }, part = { rows: Math.min(rows, CLOSE_ROWS), cols: Math.min(cols, CLOSE_COLS) };
  const draw = () => [
    figure(
      drawMask(mask, whole, `The mask of all ${rows} × ${cols} weights`),
      `All ${rows} × ${cols} weights. ${explainPoints(blockOf(whole))}`,
    ),
    figure(
      drawMask(mask, part, `The mask of the first ${part.rows} × ${part.cols} weights`),
      `The first ${part.rows} rows and ${part.cols} columns.${
        blockOf(whole) === 1 ? "" : ` ${explainPoints(1)}`
      }`,
    ),
  ];
  const figures = make("div", { class: "masks" }, ...draw());
  // The colours of a canvas do not follow the style, so the pictures are drawn again.
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () =>
    figures.isConnected ? figures.replaceChildren(...draw()) : scheme.removeEventListener("change", redraw);
  scheme.addEventListener("change", redraw);
  return make("section", {}, make("h2", {}, "Mask"), figures);
}

function explainPoints(block: number): string {
  return block === 1
    ? "Each point is a weight: coloured points are kept, blank ones are zero."
    : `Each point stands for ${block} × ${block} weights. The stronger its colour, the more of them are kept.`;
}

function figure(picture: Element, caption: string): HTMLElement {
  return make("figure", {}, picture, make("figcaption", {}, caption));
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
    make(
      "p",
      { class: "legend" },
      make("span", { class: "key-before" }, "before"),
      make("span", { class: "key-after" }, "after"),
    ),
    figure(
      drawHistogram(distributionOf(before, limit, BINS), afterwards),
      `The number of weights by value. The ${
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
