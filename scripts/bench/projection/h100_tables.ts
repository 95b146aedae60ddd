/** The tables of the model on paper of an H100. */

import type { GpuCounts } from "../gpu_counts/table.ts";
import type { LayerCounts } from "../gpu_counts/count_layer.ts";
import { sum } from "../measure/statistics.ts";
import { type Column, markdownTable } from "../report/markdown_table.ts";
import { ASSUMPTIONS, type LayerSeconds, layerSeconds, modelHours } from "./h100_model.ts";

/** Renders one row per layer of OPT-175B with the seconds of each cause, from the newest counts. */
export function h100LayerTable({ states }: GpuCounts): string {
  const layers = states.at(-1)!.layers;
  const seconds = (layer: LayerCounts) => layerSeconds(layer, true);
  const cause = (heading: string, name: keyof LayerSeconds): Column<LayerCounts> => [
    `${heading}, ms`,
    (layer) => (1000 * seconds(layer)[name]).toFixed(0),
  ];
  return markdownTable([
    ["layer", ({ rows, cols }) => `${rows}×${cols}`],
    ["product TFLOP", ({ total }) => total.productTeraflops.toFixed(2)],
    ["GB by other kernels", ({ total }) => ((total.memoryBytes - total.productBytes) / 1e9).toFixed(1)],
    ["dispatches", ({ total }) => String(total.dispatches)],
    cause("products", "products"),
    cause("other kernels", "memory"),
    cause("gaps", "gaps"),
    cause("diagonal blocks", "columns"),
    cause("waits", "waits"),
    cause("transfers", "transfers"),
    ["sum, ms", (layer) => (1000 * sum(Object.values(seconds(layer)))).toFixed(0)],
  ], layers);
}

/** Renders the hours of OPT-175B by phase. */
export function h100ModelTable({ states }: GpuCounts): string {
  const hours = modelHours(states.at(-1)!.layers);
  const rows = [...Object.entries(hours), ["sum", sum(Object.values(hours))] as const];
  return markdownTable([["OPT-175B", ([phase]) => phase], ["hours", ([, value]) => value.toFixed(1)]], rows);
}

/** Renders one row per assumption. */
export function assumptionsTable(): string {
  return markdownTable([
    ["assumption", ([name]) => name],
    ["value", ([, { value, unit }]) => `${value.toExponential(1)} ${unit}`],
    ["reason", ([, { reason }]) => reason],
  ], Object.entries(ASSUMPTIONS));
}
