/** The two tables of the GPU bench: one shows the rates of the shaders, and one compares matrix products. */

import { markdownTable } from "../report/markdown_table.ts";
import type { KernelRate } from "./kernel_rates.ts";
import type { MatmulRate } from "./matmul_race.ts";

/** The results of one run, as they are stored in `results/gemm_webgpu.json`. */
export interface GpuResults {
  /** The order n of the (n, n) matrices. */
  readonly order: number;
  readonly matmuls: readonly MatmulRate[];
  readonly kernels: readonly KernelRate[];
}

/** Renders one row per shader of each kernel. */
export function kernelTable(rates: readonly KernelRate[]): string {
  return markdownTable([
    ["kernel", (r) => r.kernel],
    ["variant", (r) => r.variant],
    ["ms", (r) => (1000 * r.seconds).toFixed(2)],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
    ["GB/s", (r) => r.gigabytesPerSecond.toFixed(2)],
  ], rates);
}

/** Renders one row per design of the matrix product, the fastest first. Pare's own variants are in bold type. */
export function matmulTable({ order, matmuls }: Pick<GpuResults, "order" | "matmuls">): string {
  return markdownTable([
    [`product of two ${order}² matrices`, ({ ours, design }) => ours ? `**${design}**` : design],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
  ], matmuls.toSorted((a, b) => b.gflops - a.gflops));
}
