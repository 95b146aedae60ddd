/**
 * The solvers bench on wide synthetic layers compares three pruning methods at 50 %: SparseGPT, SparseGPT
 * with a refit of the kept weights, and ALPS. It also divides the time of each method by the time of the
 * matrix products and Cholesky factors that the method needs. It writes results/solvers_wide.json and prints
 * the tables.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/solvers/wide/main.ts
 */

import { Command } from "commander";
import { addBackendOption, integer } from "../../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../../src/host/backends.ts";
import { withBackend } from "../../measure/with_backend.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../../report/results_file.ts";
import { benchWide, type WideLayerResult } from "./bench_wide.ts";
import { kernelTable, type WideResults, wideTable } from "./tables.ts";

interface Options {
  readonly orders: string;
  readonly rounds: number;
  readonly backend: BackendChoice;
}

const FILE = resultsUrl("solvers_wide", "json");

const command = new Command("bench solvers wide")
  .description("Compares SparseGPT, its refit and ALPS on wide layers, and writes results/solvers_wide.json.")
  .option(
    "--orders <list>",
    "comma-separated numbers of rows and columns, which are powers of two",
    "2048,4096",
  )
  .option("--rounds <n>", "timed rounds for each layer; each round runs every method once", integer(1), 3);
const { orders, rounds, backend } = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<
  Options
>();
const earlier = await readResultsIfPresent<WideResults>(FILE);
const results = new Map<number, WideLayerResult>(earlier?.layers.map((layer) => [layer.n, layer]));
const sortedLayers = () => [...results.values()].sort((a, b) => a.n - b.n);
for (const n of orders.split(",").map(Number)) {
  await withBackend(backend, async (device) => {
    await benchWide(device, n, rounds, {
      log: console.log,
      async save(result) {
        results.set(n, result);
        const description = { backend: device.kind, adapter: device.adapter.name };
        await writeResults<WideResults>(FILE, description, { layers: sortedLayers() });
      },
    });
  });
}
const layers = sortedLayers();
console.log(`\n${wideTable({ layers })}\n\n${kernelTable({ layers })}`);
