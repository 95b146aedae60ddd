/**
 * Runs the layer bench: times every size that the command line names, and prints the tables. The results file
 * is written after each size, so that an interrupted run leaves the sizes that it has finished.
 */

import type { BackendChoice } from "../../../src/host/backends.ts";
import { startHost } from "../../processes/child_host.ts";
import type { Size } from "../measure/layer_sizes.ts";
import { type MatrixProducts, matrixProducts } from "../measure/matrix_products.ts";
import { withBackend } from "../measure/with_backend.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { removeKernelOverrides } from "../torch/peer_environment.ts";
import { torchCandidates } from "../torch/thread_settings.ts";
import { findTorchBuilds } from "../torch/torch_builds.ts";
import { benchLayer, type LayerResult } from "./bench_layer.ts";
import { type GemmRate, measureGemmRate } from "./gemm_rate.ts";
import { LayerSettings } from "./layer_trials.ts";
import type { LayersResults } from "./layers_results.ts";
import { breakDownSolve } from "./solve_breakdown.ts";
import { phaseTable, settingsTable, speedTable } from "./tables.ts";

/** Options of {@link benchLayers}. */
export interface LayersBenchOptions {
  readonly sizes: readonly Size[];
  readonly backend: BackendChoice;
  /** How many rounds to time for each size. */
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
  removeKernelOverrides();
  const builds = await findTorchBuilds();
  if (builds.length === 0) {
    console.error("No Python with torch and safetensors was found, so Pare is timed alone.");
  }
  const settings = new LayerSettings(torchCandidates(builds));
  const products = await matrixProducts(backend);
  const rates: (GemmRate | undefined)[] = [];
  for (const { blas } of products) {
    rates.push(inProcess ? await withBackend(backend, (opened) => measureGemmRate(opened), blas) : undefined);
  }

  const layers: LayerResult[] = [];
  let results: LayersResults = { layers };
  for (const [rows, cols] of sizes) {
    const candidate = await settings.choose([rows, cols]);
    const timed = await benchSize([rows, cols], products, { backend, repeat, inProcess, candidate });
    layers.push(...timed);
    results = { peak: rates[0], libraryPeak: rates[1], layers, builds, trials: settings.trials };
    await writeResults(resultsUrl(name, "json"), products[0].device, results);
    console.error(speedTable({ ...results, layers: timed }));
  }
  if (layers.length > 0) {
    console.log([speedTable(results), phaseTable(results), settingsTable(results)].join("\n\n"));
  }
}

/** Times one size. Each size has its own host processes, so that the peak memory of a process belongs to that size. */
async function benchSize(
  [rows, cols]: Size,
  products: readonly MatrixProducts[],
  { backend, repeat, inProcess, candidate }:
    & Pick<LayersBenchOptions, "backend" | "repeat" | "inProcess">
    & Pick<Parameters<typeof benchLayer>[3], "candidate">,
): Promise<LayerResult[]> {
  await using processes = new AsyncDisposableStack();
  const hosts = [];
  for (const { blas, library } of products) {
    const host = processes.use(await startHost(["--backend", backend, "--blas", blas]));
    const breakDown = inProcess
      ? (body: Uint8Array<ArrayBuffer>) =>
        withBackend(backend, (opened) => breakDownSolve(opened, body), blas)
      : undefined;
    hosts.push({ host, library, breakDown });
  }
  return await benchLayer(hosts, rows, cols, { candidate, repeat });
}
