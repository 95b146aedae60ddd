/** The table of the latency bench, which sends requests from several clients at once. */

import { formatSize, markdownTable } from "../report/markdown_table.ts";
import type { LatencyResult } from "./measure_latency.ts";

/** The results of one run, as they are stored in `results/latency.json`. */
export interface LatencyResults {
  readonly latency: LatencyResult;
}

/** Renders one row with the latencies under load. */
export function latencyTable({ latency }: LatencyResults): string {
  const milliseconds = (seconds: number) => (1000 * seconds).toFixed(0);
  return markdownTable([
    ["rows × cols", formatSize],
    ["clients", (r) => r.clients.toString()],
    ["requests", (r) => r.requests.toString()],
    ["p50 ms", (r) => milliseconds(r.p50)],
    ["p99 ms", (r) => milliseconds(r.p99)],
    ["requests/s", (r) => r.requestsPerSecond.toFixed(1)],
    ["one client, p50 ms", (r) => milliseconds(r.alone)],
  ], [latency]);
}
