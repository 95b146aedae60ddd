/**
 * The table of the edge bench, which measures how much time Pare's Cloudflare Worker (the edge) adds to a
 * request.
 */

import { type Column, formatPercent, formatSize, markdownTable } from "../report/markdown_table.ts";
import type { EdgeResult } from "./bench_edge.ts";

/** The results of one run, as they are stored in `results/edge.json`. */
export interface EdgeResults {
  readonly layers: readonly EdgeResult[];
}

const COLUMNS: readonly Column<EdgeResult>[] = [
  ["rows × cols", formatSize],
  ["body MB", (r) => (r.bodyBytes / 1e6).toFixed(1)],
  ["factor + solve s", (r) => formatSeconds(r.solve)],
  ["to the host s", (r) => formatSeconds(r.direct)],
  ["MB/s", (r) => bodyRate(r, r.direct)],
  ["through the edge s", (r) => formatSeconds(r.through)],
  ["MB/s", (r) => bodyRate(r, r.through)],
  ["the edge adds", (r) => formatPercent(r.through / r.direct - 1)],
  ["upload s", (r) => formatSeconds(r.job.upload)],
  ["MB/s", (r) => bodyRate(r, r.job.upload)],
  ["job s", (r) => formatSeconds(r.job.job)],
  ["answer s", (r) => formatSeconds(r.job.fetch)],
  ["upload + job + answer s", (r) => formatSeconds(r.job.total)],
];

/** Renders one row per layer size. Each MB/s is the size of the body divided by the seconds in the column before it. */
export function edgeTable({ layers }: EdgeResults): string {
  return markdownTable(COLUMNS, layers);
}

function formatSeconds(seconds: number): string {
  return seconds.toFixed(3);
}

function bodyRate({ bodyBytes }: EdgeResult, seconds: number): string {
  return (bodyBytes / 1e6 / seconds).toFixed(0);
}
