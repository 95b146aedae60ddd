/**
 * Layers up to OPT-175B's fc2 (49152 inputs, H of 4.8 GB as a triangle) on whatever backend there is, checked in float64:
 * `deno run -A scripts/bench/large/main.ts --backend webgpu --rows 64 --cols 49152`. Adds the run to results/large.json and prints the
 * table. At 49152 inputs a software adapter takes an hour and more, and progress is told by phase only.
 */

import { Command, InvalidArgumentError, Option } from "commander";
import { BACKEND_CHOICES, type BackendChoice } from "../../../src/host/backends.ts";
import { DEFAULT_TILE_EDGE } from "../../../src/backend/tiled_matrix.ts";
import { withBackend } from "../in_process.ts";
import { machine } from "../machine.ts";
import { resultsUrl } from "../results_file.ts";
import { benchLarge } from "./bench_large.ts";
import type { LargeShape } from "./layer.ts";
import { addRun } from "./results.ts";
import { largeTable } from "./table.ts";
import { memoryBytes } from "../../processes.ts";

interface Options extends LargeShape {
  readonly backend: BackendChoice;
  readonly results: string | URL;
}

const { backend, results, ...shape } = new Command("bench large")
  .description("Factors and solves one large layer in tiles, and checks it in float64.")
  .addOption(new Option("--backend <kind>").choices(BACKEND_CHOICES).default("auto"))
  .requiredOption("--rows <n>", "outputs", parseCount)
  .requiredOption("--cols <n>", "inputs", parseCount)
  .option("--tokens <n>", "calibration tokens", parseCount, 256)
  .option("--edge <n>", "of a tile, a multiple of 128", parseCount, DEFAULT_TILE_EDGE)
  .option("--results <file>", "the file the run is added to", resultsUrl("large", "json").href)
  .parse(Deno.args, { from: "user" })
  .opts<Options>();

const result = await withBackend(backend, (opened) => benchLarge(opened, shape, console.error));
const run = {
  ...result,
  date: new Date().toISOString(),
  peakMemoryBytes: memoryBytes(Deno.pid, "VmHWM") || undefined,
};
const path = String(results).startsWith("file:") ? new URL(results) : results;
const { layers } = await addRun(path, run, { machine: await machine() });
console.log(largeTable(layers));

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("needs a whole number from 1 up");
  return count;
}
