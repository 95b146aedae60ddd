/** The table that compares the device memory of each method with the bound that was computed for it. */

import { type Column, formatPercent, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { DeviceBytes } from "./bench_device_bytes.ts";

/** The results of one run, as they are stored in `results/device_bytes.json`. */
export interface DeviceBytesResults {
  readonly layers: readonly DeviceBytes[];
}

const COLUMNS: readonly Column<DeviceBytes>[] = [
  ["rows × cols", ({ rows, cols }) => `${rows} × ${cols}`],
  ["parameters", ({ query }) => Object.entries(query).map(([name, value]) => `${name}=${value}`).join("&")],
  ["bound MiB", ({ boundBytes }) => mebibytes(boundBytes)],
  ["used MiB", ({ peakBytes, refusal }) => refusal ? "refused" : mebibytes(peakBytes)],
  [
    "used / bound",
    ({ peakBytes, boundBytes, refusal }) => refusal ? NOT_MEASURED : formatPercent(peakBytes / boundBytes),
  ],
  ["request s", ({ seconds, refusal }) => refusal ? NOT_MEASURED : seconds.toFixed(1)],
];

/** Renders one row per request. */
export function deviceBytesTable({ layers }: DeviceBytesResults): string {
  return markdownTable(COLUMNS, layers);
}

function mebibytes(bytes: number): string {
  return Math.ceil(bytes / 2 ** 20).toString();
}
