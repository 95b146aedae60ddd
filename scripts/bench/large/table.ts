/** The large layers as a Markdown table. */

import { markdownTable } from "../table.ts";
import type { LargeRun } from "./results.ts";
import type { Usage } from "./usage.ts";

const COLUMNS: readonly [title: string, cell: (run: LargeRun) => string][] = [
  ["rows × cols", (r) => `${r.rows} × ${r.cols}`],
  ["adapter", (r) => r.adapter],
  ["statistics s", (r) => seconds(r.phases.statistics)],
  ["factor s", (r) => seconds(r.phases.factor)],
  ["factor GFLOP/s a core", (r) => rate(r.factorFlops, r.phases.factor)],
  ["solve s", (r) => seconds(r.phases.solve)],
  ["solve GFLOP/s a core", (r) => rate(r.solveFlops, r.phases.solve)],
  ["device GiB", (r) => gibibytes(r.deviceBytes)],
  ["process GiB", (r) => r.peakMemoryBytes === undefined ? "–" : gibibytes(r.peakMemoryBytes)],
  ["R·Rᵀ off by", (r) => r.factorCheck.residual.toExponential(1)],
  ["weights off by", (r) => r.solutionCheck.residual.toExponential(1)],
];

/** A row a layer. Rates are by processor seconds, which do not count what else the machine did. */
export function largeTable(runs: readonly LargeRun[]): string {
  return markdownTable([
    COLUMNS.map(([title]) => title),
    ...runs.map((run) => COLUMNS.map(([, cell]) => cell(run))),
  ]);
}

/** On the clock, and in brackets all cores' own. */
function seconds({ seconds, cpuSeconds }: Usage): string {
  return `${seconds.toFixed(1)} (${cpuSeconds.toFixed(1)})`;
}

function rate(flops: number, { cpuSeconds }: Usage): string {
  return (flops / cpuSeconds / 1e9).toFixed(1);
}

function gibibytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(2);
}
