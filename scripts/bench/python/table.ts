/** The table of the Python bench, which measures how much time a client adds to a request. */

import { type Column, formatSize, markdownTable } from "../report/markdown_table.ts";
import type { ClientResult, PythonResult } from "./bench_python.ts";

/** The results of one run, as they are stored in `results/python_client.json`. */
export interface PythonResults {
  /** The load average of the minute before the bench. Other programs on the machine make all times longer. */
  readonly loadAverage: number;
  readonly layers: readonly PythonResult[];
}

/** One client, and the layer that it sends. */
type Row = Omit<PythonResult, "clients"> & ClientResult;

const COLUMNS: readonly Column<Row>[] = [
  ["rows × cols", formatSize],
  ["statistics", ({ statistics }) => statistics],
  ["body MB", ({ bodyBytes }) => (bodyBytes / 1e6).toFixed(1)],
  ["client", ({ client }) => client],
  ["request ms", ({ wall }) => formatMilliseconds(wall)],
  ["host ms", ({ host }) => formatMilliseconds(host)],
  ["overhead ms", ({ overhead }) => formatMilliseconds(overhead)],
  ["90 % below ms", ({ overhead90 }) => formatMilliseconds(overhead90)],
];

/** Renders one row per client and per way to give the statistics. */
export function pythonTable({ layers }: Pick<PythonResults, "layers">): string {
  return markdownTable(
    COLUMNS,
    layers.flatMap((layer) => layer.clients.map((client) => ({ ...layer, ...client }))),
  );
}

function formatMilliseconds(seconds: number): string {
  return (1000 * seconds).toFixed(1);
}
