/** The table of the large bench, which solves layers that are too large for an HTTP request. */

import { formatSize, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { LargeResults } from "./large_file.ts";
import type { Usage } from "./usage.ts";

/**
 * Renders one row per layer. Rates are computed from processor seconds, because these do not include the time of other
 * programs on the machine.
 */
export function largeTable({ layers }: LargeResults): string {
  return markdownTable([
    ["rows × cols", formatSize],
    ["adapter", (r) => r.adapter],
    ["statistics s", (r) => formatUsage(r.phases.statistics)],
    ["factor s", (r) => formatUsage(r.phases.factor)],
    ["factor GFLOP/s per core", (r) => rate(r.factorFlops, r.phases.factor)],
    ["solve s", (r) => formatUsage(r.phases.solve)],
    ["solve GFLOP/s per core", (r) => rate(r.solveFlops, r.phases.solve)],
    ["device GiB", (r) => gibibytes(r.deviceBytes)],
    ["process GiB", (r) => r.peakMemoryBytes === undefined ? NOT_MEASURED : gibibytes(r.peakMemoryBytes)],
    ["error of R·Rᵀ", (r) => r.factorCheck.residual.toExponential(1)],
    ["error of weights", (r) => r.solutionCheck.residual.toExponential(1)],
  ], layers);
}

/** Wall-clock seconds, followed by processor seconds in parentheses. */
function formatUsage({ seconds, cpuSeconds }: Usage): string {
  return `${seconds.toFixed(1)} (${cpuSeconds.toFixed(1)})`;
}

function rate(flops: number, { cpuSeconds }: Usage): string {
  return (flops / cpuSeconds / 1e9).toFixed(1);
}

function gibibytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(2);
}
