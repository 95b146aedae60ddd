/** The tables of the layer bench: the speed beside PyTorch, the time of each phase, and the settings of PyTorch that were tried. */

import { formatProducts } from "../measure/matrix_products.ts";
import {
  type Column,
  formatPercent,
  formatSize,
  markdownTable,
  NOT_MEASURED,
} from "../report/markdown_table.ts";
import { describeBuilds } from "../torch/torch_builds.ts";
import { trialsTable } from "../torch/trials_table.ts";
import type { LayerResult } from "./bench_layer.ts";
import type { LayersResults } from "./layers_results.ts";
import type { SolveStep } from "./solve_breakdown.ts";

/**
 * Renders one row per layer size and way to multiply matrices: the times of the solve and of the request, the
 * rate, the memory, and PyTorch's time in its fastest setting.
 */
export function speedTable({ layers, peak, libraryPeak }: LayersResults): string {
  const gemmRate = ({ library }: LayerResult) => library === undefined ? peak : libraryPeak;
  return markdownTable([
    ["rows × cols", formatSize],
    ["products", formatProducts],
    ["factor s", (r) => seconds(r.solve.factor)],
    ["solve s", (r) => seconds(r.solve.solve)],
    ["factor + solve s", (r) => seconds(r.solveSeconds)],
    ["with error s", (r) => seconds(r.withError.solveSeconds)],
    ["request s", (r) => seconds(r.wallSeconds)],
    ["HTTP adds", (r) => formatPercent(r.wallSeconds / r.solveSeconds - 1)],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
    ["of GEMM", (r) => formatShare(r.gflops, gemmRate(r)?.gflops)],
    ["memory MiB", (r) => Math.round(r.peakMemoryBytes / 2 ** 20).toString()],
    ["PyTorch s", (r) => r.reference ? seconds(r.reference.seconds) : NOT_MEASURED],
    ["PyTorch's setting", (r) => r.reference?.setting ?? NOT_MEASURED],
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
    ["products", formatProducts],
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

/**
 * Renders one row per build and setting of PyTorch and one column per size: the seconds of the short runs that
 * chose the setting. A line below the table names the builds.
 */
export function settingsTable({ trials = [], builds = [] }: LayersResults): string {
  const cases = trials.map(({ trials, ...size }) => ({ title: formatSize(size), trials }));
  return `${trialsTable(cases)}\n\n${describeBuilds(builds)}`;
}

function formatShare(value: number, whole: number | undefined): string {
  return whole === undefined ? NOT_MEASURED : formatPercent(value / whole);
}

function seconds(value: number): string {
  return value.toFixed(3);
}
