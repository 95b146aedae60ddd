/** The results of the GPU counts and their table. */

import { type Column, markdownTable } from "../report/markdown_table.ts";
import type { LayerCounts } from "./count_layer.ts";
import type { GpuLimits } from "./recording_backend.ts";

/** The counts of several layers at one state of the code. */
export interface CountedState {
  /** What the state of the code is, such as `first` or `now`. */
  readonly state: string;
  readonly layers: readonly LayerCounts[];
}

/** The contents of `results/gpu_counts.json`. */
export interface GpuCounts {
  readonly limits: GpuLimits;
  /** The states in the order in which they were counted. */
  readonly states: readonly CountedState[];
}

/** Renders one row per layer and state. */
export function gpuCountsTable({ states }: GpuCounts): string {
  const rows = states.flatMap(({ state, layers }) => layers.map((layer) => ({ state, ...layer })));
  const share = (value: number) => `${(100 * value).toFixed(1)} %`;
  const columns: readonly Column<typeof rows[number]>[] = [
    ["layer", (row) => `${row.rows}×${row.cols}`],
    ["code", (row) => row.state],
    ["tile edge", (row) => String(row.edge)],
    ["dispatches to factor", (row) => String(row.factor.dispatches)],
    ["dispatches to solve", (row) => String(row.solve.dispatches)],
    ["dispatches", (row) => String(row.total.dispatches)],
    ["TFLOP in products", (row) => row.total.productTeraflops.toFixed(2)],
    ["in products that fill the GPU", (row) => share(row.total.filledShare)],
    ["device memory", (row) => `${(row.bytesPeak / 1e9).toFixed(2)} GB`],
    ["waits", (row) => String(row.total.waits)],
  ];
  return markdownTable(columns, rows);
}
