/** The GPU bench's results as Markdown tables. */

import { markdownTable } from "../table.ts";
import type { MatmulRate } from "./gemm_race.ts";
import type { KernelRate } from "./kernel_rates.ts";

/** A row a shader. */
export function kernelTable(rates: readonly KernelRate[]): string {
  return markdownTable([
    ["kernel", "variant", "ms", "GFLOP/s", "GB/s"],
    ...rates.map((r) => [
      r.kernel,
      r.variant,
      (1000 * r.seconds).toFixed(2),
      r.gflops.toFixed(1),
      r.gigabytesPerSecond.toFixed(2),
    ]),
  ]);
}

/** A row a design, the fastest first. */
export function gemmTable(order: number, rates: readonly MatmulRate[]): string {
  return markdownTable([
    [`product of two ${order}² matrices`, "GFLOP/s"],
    ...[...rates].sort((a, b) => b.gflops - a.gflops).map(({ design, ours, gflops }) => [
      ours ? `**${design}**` : design,
      gflops.toFixed(1),
    ]),
  ]);
}
