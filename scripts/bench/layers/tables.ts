/** The two tables of the layer bench: one compares the speed with PyTorch, and one shows the time of each phase. */

import {
  type Column,
  formatPercent,
  formatSize,
  markdownTable,
  NOT_MEASURED,
} from "../report/markdown_table.ts";
import type { LayerResult } from "./bench_layer.ts";
import type { LayersResults } from "./layers_results.ts";
import type { SolveStep } from "./solve_breakdown.ts";

/** Renders one row per layer size: the times of the solve and of the request, the rate, the memory, and PyTorch's time. */
export function speedTable({ layers, peak: gemmRate }: LayersResults): string {
  return markdownTable([
    ["rows × cols", formatSize],
    ["factor s", (r) => seconds(r.solve.factor)],
    ["solve s", (r) => seconds(r.solve.solve)],
    ["factor + solve s", (r) => seconds(r.solveSeconds)],
    ["with error s", (r) => seconds(r.withError.solveSeconds)],
    ["request s", (r) => seconds(r.wallSeconds)],
    ["HTTP adds", (r) => formatPercent(r.wallSeconds / r.solveSeconds - 1)],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
    ["of GEMM", (r) => gemmRate ? formatPercent(r.gflops / gemmRate.gflops) : NOT_MEASURED],
    ["memory MiB", (r) => Math.round(r.peakMemoryBytes / 2 ** 20).toString()],
    ["PyTorch s", (r) => r.reference ? seconds(r.reference.seconds) : NOT_MEASURED],
    ["× PyTorch", (r) => r.reference?.speedup.toFixed(1) ?? NOT_MEASURED],
  ], layers);
}

/**
 * Renders one row per layer size: the seconds of each phase of a request at `error=false`. The seconds of the solve's steps
 * are the timed seconds of the solve, split according to the shares of the steps.
 */
export function phaseTable({ layers }: Pick<LayersResults, "layers">): string {
  const step = (heading: string, name: SolveStep): Column<LayerResult> => [
    heading,
    (r) => r.shares ? seconds(r.solve.solve * r.shares[name]) : NOT_MEASURED,
  ];
  return markdownTable([
    ["rows × cols", formatSize],
    ["read s", (r) => seconds(r.solve.read)],
    ["factor s", (r) => seconds(r.solve.factor)],
    step("select s", "select"),
    step("column loop s", "columnLoop"),
    step("lazy update s", "lazyUpdate"),
    step("rest of solve s", "other"),
    ["write s", (r) => seconds(writeSeconds(r))],
    ["request s", (r) => seconds(r.wallSeconds)],
  ], layers);
}

/** The seconds from the start of the answer to its last byte. The host's own total ends at the start of the answer. */
export function writeSeconds({ wallSeconds, solve }: LayerResult): number {
  return wallSeconds - solve.total;
}

function seconds(value: number): string {
  return value.toFixed(3);
}
