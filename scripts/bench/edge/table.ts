/** The ways to a host as a Markdown table. */

import { markdownTable } from "../table.ts";
import type { EdgeResult } from "./bench_edge.ts";

const COLUMNS: readonly [title: string, cell: (result: EdgeResult) => string][] = [
  ["rows × cols", (r) => `${r.rows} × ${r.cols}`],
  ["body MB", (r) => (r.bodyBytes / 1e6).toFixed(1)],
  ["factor + solve s", (r) => seconds(r.solve)],
  ["to the host s", (r) => seconds(r.direct)],
  ["MB/s", (r) => rate(r, r.direct)],
  ["through the edge s", (r) => seconds(r.through)],
  ["MB/s", (r) => rate(r, r.through)],
  ["the edge adds", (r) => `${(100 * (r.through / r.direct - 1)).toFixed(0)} %`],
  ["upload s", (r) => seconds(r.job.upload)],
  ["MB/s", (r) => rate(r, r.job.upload)],
  ["job s", (r) => seconds(r.job.job)],
  ["answer s", (r) => seconds(r.job.fetch)],
  ["upload + job + answer s", (r) => seconds(r.job.total)],
];

/** A row a size. MB/s is the body over the seconds before it. */
export function edgeTable(results: readonly EdgeResult[]): string {
  return markdownTable([
    COLUMNS.map(([title]) => title),
    ...results.map((result) => COLUMNS.map(([, cell]) => cell(result))),
  ]);
}

function seconds(value: number): string {
  return value.toFixed(3);
}

function rate({ bodyBytes }: EdgeResult, taken: number): string {
  return (bodyBytes / 1e6 / taken).toFixed(0);
}
