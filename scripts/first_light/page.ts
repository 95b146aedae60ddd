/** The HTML page of a run. It has no scripts and loads nothing. */

import type { KernelRate } from "./kernel_rates.ts";
import type { FirstLight } from "./results.ts";

type Cell = string | number;

const STYLE =
  `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.2rem .6rem;border-bottom:1px solid #dde2e8;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}.bad{color:#b00020}.note{color:#5a6675}`;

export function renderPage(result: FirstLight): string {
  const { probe, checks, kernels, dawn, torch, transfers, layer, request, limits, failures } = result;
  const body = [
    `<h1>First light: ${escape(result.adapter)}</h1>`,
    `<p class="note">${escape(result.date)}, ${escape(result.machine.cpu)}, Deno ${
      escape(result.machine.deno)
    }. ` +
    (result.software
      ? "This is a software adapter, which emulates a GPU on the CPU. Its times say nothing about a GPU.</p>"
      : "This is a hardware GPU.</p>"),
    ...Object.entries(failures).map(([step, message]) =>
      `<p class="bad">Step ${escape(step)} failed: ${escape(message)}</p>`
    ),
    limits && section(
      "What limits a layer",
      "The time of one layer by cause, the largest first. Causes can overlap.",
      ["cause", "ms", "share"],
      limits.map(({ what, seconds, share }) => [what, ms(seconds), `${(100 * share).toFixed(1)} %`]),
    ),
    layer && section(
      `A layer of ${layer.order}×${layer.order}`,
      `Kernel times are by the clock of the ${layer.byDeviceClock ? "device" : "CPU, with waits"}.`,
      ["", ""],
      [
        ["factor", `${ms(layer.factorSeconds)} ms`],
        ["solve", `${ms(layer.solveSeconds)} ms`],
        ["rate", `${(layer.flopsPerSecond / 1e12).toFixed(3)} TFLOP/s`],
        ["dispatches", layer.dispatches],
        ["device memory", `${(layer.bytesPeak / 2 ** 20).toFixed(0)} MiB`],
      ],
    ),
    checks && section(
      "Checks",
      "Results compared with committed float64 results.",
      ["check", "result", "s"],
      checks.map(({ what, passed, message, seconds }) => [
        what,
        passed ? "passed" : message ?? "failed",
        seconds.toFixed(1),
      ]),
    ),
    kernels &&
    kernelSection("Kernels", `Every shader of the heavy kernels, order ${result.sizes.product}.`, kernels),
    dawn && dawnSection(dawn),
    torch && torchSection(torch),
    transfers && section("Transfers", "By the clock of the CPU.", ["", ""], [
      ["gap between dispatches", `${(1e6 * transfers.dispatchSeconds).toFixed(1)} µs`],
      ["wait for an idle device", `${ms(transfers.waitSeconds)} ms`],
      ["upload", `${(transfers.uploadBytesPerSecond / 1e9).toFixed(2)} GB/s`],
      ["read-back", `${(transfers.readBytesPerSecond / 1e9).toFixed(2)} GB/s`],
    ]),
    request && section(`A request over HTTP, ${request.order}×${request.order}`, "", ["", ""], [
      ["body", `${(request.bodyBytes / 2 ** 20).toFixed(1)} MiB`],
      ["client's time", `${ms(request.wallSeconds)} ms`],
      ...Object.entries(request.seconds).map(([phase, seconds]): Cell[] => [phase, `${ms(seconds)} ms`]),
      ["relative error", request.relativeError?.toPrecision(4) ?? "–"],
    ]),
    probe && section("Adapter", "", ["", ""], [
      ...Object.entries(probe.info),
      ["features listed", probe.listed.join(", ")],
      ["features granted", probe.granted.join(", ")],
      ...Object.entries(probe.limits),
    ]),
    section(
      "Seconds of each step",
      "",
      ["step", "s"],
      Object.entries(result.seconds).map(([step, seconds]) => [
        step,
        seconds.toFixed(1),
      ]),
    ),
  ];
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>First light</title><style>${STYLE}</style>
<body>${body.filter((part) => part !== undefined).join("\n")}</body></html>\n`;
}

function kernelSection(title: string, note: string, rates: readonly KernelRate[]): string {
  return section(
    title,
    note,
    ["kernel", "shader", "ms", "TFLOP/s", "GB/s"],
    rates.map((rate) => [
      rate.kernel,
      rate.variant,
      ms(rate.seconds),
      (rate.gflops / 1000).toFixed(3),
      rate.gigabytesPerSecond.toFixed(1),
    ]),
  );
}

function dawnSection(dawn: NonNullable<FirstLight["dawn"]>): string {
  const title = "Products with Dawn";
  if ("reason" in dawn) return section(title, `Left out: ${dawn.reason}.`, [], []);
  const units = dawn.hasMatrixUnits ? "has" : "has no";
  const note = `The adapter ${units} matrix units that Pare can use. Granted features: ${
    dawn.probe.granted.join(", ")
  }.`;
  return kernelSection(title, note, dawn.kernels);
}

function torchSection(torch: NonNullable<FirstLight["torch"]>): string {
  const title = "PyTorch on the same GPU";
  if ("reason" in torch) return section(title, `Left out: ${torch.reason}.`, [], []);
  return section(
    title,
    `PyTorch ${torch.torch} on ${torch.device}. The layer is pruned by the published algorithm.`,
    ["", ""],
    [
      ...Object.entries(torch.gflops).map((
        [kind, gflops],
      ): Cell[] => [`product in ${kind}`, `${(gflops / 1000).toFixed(3)} TFLOP/s`]),
      ["factor of the layer", `${ms(torch.layer.factor)} ms`],
      ["solve of the layer", `${ms(torch.layer.solve)} ms`],
    ],
  );
}

function section(title: string, note: string, heads: readonly string[], rows: readonly Cell[][]): string {
  const line = (tag: string, cells: readonly Cell[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${escape(String(cell))}</${tag}>`).join("")}</tr>`;
  const head = heads.some(Boolean) ? line("th", heads) : "";
  return `<h2>${escape(title)}</h2>${note && `<p class="note">${escape(note)}</p>`}<table>${head}${
    rows.map((row) => line("td", row)).join("")
  }</table>`;
}

function ms(seconds: number): string {
  return (1000 * seconds).toFixed(seconds < 0.1 ? 2 : 0);
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
