/**
 * The large bench: solves one layer and checks the result in float64. The layer can be as large as fc2 of
 * OPT-175B, which has 49152 inputs. One triangle of the Hessian of fc2 takes 4.8 GB. The run is added to
 * results/large.json, and the table of all runs is printed.
 *
 *     deno run -A scripts/bench/large/main.ts --backend webgpu --rows 64 --cols 49152
 *
 * On a software adapter, 49152 inputs take more than an hour. A line is printed only when a phase has
 * finished.
 */

import { Command } from "commander";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { DEFAULT_TILE_EDGE } from "../../../src/backend/tiled_matrix.ts";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import { memoryBytes } from "../../processes/process_tree.ts";
import { withBackend } from "../measure/with_backend.ts";
import { resultsUrl } from "../report/results_file.ts";
import { benchLarge } from "./bench_large.ts";
import { addRun } from "./large_file.ts";
import type { LargeShape } from "./large_layer.ts";
import { largeTable } from "./table.ts";

interface Options extends LargeShape {
  readonly backend: BackendChoice;
  readonly results?: string;
}

const command = new Command("bench large")
  .description("Factors and solves one large layer in tiles, and checks it in float64.")
  .requiredOption("--rows <n>", "outputs of the layer", integer(1))
  .requiredOption("--cols <n>", "inputs of the layer", integer(1))
  .option("--tokens <n>", "calibration tokens", integer(1), 256)
  .option("--edge <n>", "rows and columns of a tile, a multiple of 128", integer(1), DEFAULT_TILE_EDGE)
  .option("--results <file>", "the file that the run is added to (default: results/large.json)");
const { backend, results, ...shape } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();

const result = await withBackend(backend, (opened) => benchLarge(opened, shape, console.error));
const run = {
  ...result,
  date: new Date().toISOString(),
  peakMemoryBytes: memoryBytes(Deno.pid, "VmHWM") || undefined,
};
console.log(largeTable(await addRun(results ?? resultsUrl("large", "json"), run)));
