/** The benches' results as Markdown tables. */

import type { LayerResult } from "./bench_layer.ts";
import type { Shares } from "./breakdown.ts";
import type { LatencyResult } from "./latency.ts";
import type { GemmRate } from "./peak.ts";
import { hours, type ModelPhase, type Rates, type Work, writeSeconds } from "./projection.ts";

/** Where a figure was not measured. */
const NONE = "–";

/** A row a size: what the solve and the request take, beside the reference. */
export function layerTable(layers: readonly LayerResult[], peak?: GemmRate): string {
  return table(layers, [
    ["rows × cols", size],
    ["factor s", (r) => r.solve.factor.toFixed(3)],
    ["solve s", (r) => r.solve.solve.toFixed(3)],
    ["factor + solve s", (r) => r.solveSeconds.toFixed(3)],
    ["with error s", (r) => r.withError.solveSeconds.toFixed(3)],
    ["request s", (r) => r.wallSeconds.toFixed(3)],
    ["HTTP adds", (r) => percent(r.wallSeconds / r.solveSeconds - 1)],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
    ["of GEMM", (r) => peak ? percent(r.gflops / peak.gflops) : NONE],
    ["memory MiB", (r) => Math.round(r.peakMemoryBytes / 2 ** 20).toString()],
    ["PyTorch s", (r) => r.reference?.seconds.toFixed(3) ?? NONE],
    ["× PyTorch", (r) => r.reference?.speedup.toFixed(1) ?? NONE],
  ]);
}

/** A row a size: seconds a phase of a request at `error=false`. The solve's steps are its timed seconds by their shares. */
export function phaseTable(layers: readonly LayerResult[]): string {
  const step = (name: keyof Shares) => (r: LayerResult) =>
    r.shares ? (r.solve.solve * r.shares[name]).toFixed(3) : NONE;
  return table(layers, [
    ["rows × cols", size],
    ["read s", (r) => r.solve.read.toFixed(3)],
    ["factor s", (r) => r.solve.factor.toFixed(3)],
    ["select s", step("select")],
    ["column loop s", step("columnLoop")],
    ["lazy update s", step("lazyUpdate")],
    ["rest of solve s", step("other")],
    ["write s", (r) => writeSeconds(r).toFixed(3)],
    ["request s", (r) => r.wallSeconds.toFixed(3)],
  ]);
}

/** One row: requests under load. */
export function latencyTable(latency: LatencyResult): string {
  const milliseconds = (seconds: number) => (1000 * seconds).toFixed(0);
  return table([latency], [
    ["rows × cols", size],
    ["clients", (r) => r.clients.toString()],
    ["requests", (r) => r.requests.toString()],
    ["p50 ms", (r) => milliseconds(r.p50)],
    ["p99 ms", (r) => milliseconds(r.p99)],
    ["requests/s", (r) => r.requestsPerSecond.toFixed(1)],
    ["one client, p50 ms", (r) => milliseconds(r.alone)],
  ]);
}

/** A row a phase of pruning a whole model, and their sum. */
export function projectionTable(title: string, work: Work, memory: Work, rates: Rates): string {
  const inHours = hours(work, rates), phases = Object.keys(inHours) as ModelPhase[];
  const total = phases.reduce((sum, phase) => sum + inHours[phase], 0);
  const moves = (phase: ModelPhase) => phase === "read" || phase === "write";
  return markdownTable([
    [title, "work", "on the device", "rate", "hours"],
    ...phases.map((phase) => [
      phase,
      moves(phase) ? `${(work[phase] / 1e12).toFixed(2)} TB` : `${(work[phase] / 1e15).toFixed(2)} PFLOP`,
      `${(memory[phase] / 1e9).toFixed(1)} GB`,
      moves(phase) ? `${(rates[phase] / 1e9).toFixed(2)} GB/s` : `${(rates[phase] / 1e9).toFixed(1)} GFLOP/s`,
      inHours[phase].toFixed(1),
    ]),
    ["total", "", "", "", total.toFixed(1)],
  ]);
}

/** A Markdown table, its first row the head; every column but the first is aligned right. */
export function markdownTable([head, ...rows]: readonly (readonly string[])[]): string {
  const rule = head.map((_, i) => i === 0 ? "---" : "--:");
  return [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

type Column<Row> = readonly [title: string, cell: (row: Row) => string];

function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  return markdownTable([
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, cell]) => cell(row))),
  ]);
}

function size({ rows, cols }: { readonly rows: number; readonly cols: number }): string {
  return `${rows} × ${cols}`;
}

function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(0)} %`;
}
