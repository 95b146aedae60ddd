/** Runs the layer bench: times every size that the command line names, writes the results file and prints the tables. */

import type { BackendChoice } from "../../../src/host/backends.ts";
import { startHost } from "../../processes/child_host.ts";
import type { Size } from "../measure/layer_sizes.ts";
import { withBackend } from "../measure/with_backend.ts";
import { type BenchDevice, resultsUrl, writeResults } from "../report/results_file.ts";
import { findPython } from "../torch/torch_process.ts";
import { benchLayer, type LayerResult } from "./bench_layer.ts";
import { measureGemmRate } from "./gemm_rate.ts";
import type { LayersResults } from "./layers_results.ts";
import { breakDownSolve } from "./solve_breakdown.ts";
import { phaseTable, speedTable } from "./tables.ts";

/** Options of {@link benchLayers}. */
export interface LayersBenchOptions {
  readonly sizes: readonly Size[];
  readonly backend: BackendChoice;
  /** How many pairs of runs to time for each size. */
  readonly repeat: number;
  /** The name of the results file. */
  readonly name: string;
  /**
   * Whether to measure the rate of the matrix product (GEMM) and the steps of the solve. Neither can be
   * measured through requests, so a backend is opened in this process.
   */
  readonly inProcess: boolean;
}

/** Times `sizes` on `backend` and writes `results/NAME.json`. Each finished size is printed on standard error. */
export async function benchLayers(
  { backend, repeat, name, inProcess, sizes }: LayersBenchOptions,
): Promise<void> {
  const python = await findPython();
  if (!python) console.error("No Python with torch and safetensors was found, so Pare is timed alone.");
  const peak = inProcess ? await withBackend(backend, (opened) => measureGemmRate(opened)) : undefined;
  const breakDown = inProcess
    ? (body: Uint8Array<ArrayBuffer>) => withBackend(backend, (opened) => breakDownSolve(opened, body))
    : undefined;

  const layers: LayerResult[] = [];
  let device: BenchDevice | undefined;
  for (const [rows, cols] of sizes) {
    // Each size has its own host process, so that the process's peak memory belongs to that size.
    await using host = await startHost(["--backend", backend]);
    device = { backend: host.backend, adapter: host.adapter };
    const layer = await benchLayer(host, rows, cols, { python, repeat, breakDown });
    layers.push(layer);
    console.error(speedTable({ layers: [layer], peak }));
  }
  if (!device) return;
  const results: LayersResults = { peak, layers };
  await writeResults(resultsUrl(name, "json"), device, results);
  console.log(`${speedTable(results)}\n\n${phaseTable(results)}`);
}
