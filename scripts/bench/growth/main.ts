/**
 * The growth bench shows how time and memory grow with the size of a layer and of a model, beside the flop
 * count. It writes results/NAME.json and results/NAME.svg after each size, and prints the table.
 *
 *     deno task bench:growth
 */

import { Command } from "commander";
import { addBackendOption } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice, BlasChoice } from "../../../src/host/backends.ts";
import { writeSotuTexts } from "../../fixtures/sotu_text.ts";
import { withBackend } from "../measure/with_backend.ts";
import { type BenchDevice, resultsUrl, writeResults } from "../report/results_file.ts";
import { removeKernelOverrides } from "../torch/peer_environment.ts";
import { growthChart } from "./chart.ts";
import type { GrowthPoint, GrowthSeries, RefusedSize } from "./growth_results.ts";
import { measureLayer } from "./layer_growth.ts";
import { measureModel } from "./model_growth.ts";
import { growthTable } from "./table.ts";

/** The number of blocks in the series of windows, and the number of windows in the series of blocks. */
const FIXED = { blocks: 12, windows: 64 };

interface Options {
  readonly orders: readonly number[];
  readonly blocks: readonly number[];
  readonly windows: readonly number[];
  readonly backend: BackendChoice;
  readonly blas: BlasChoice;
  readonly name: string;
}

const command = new Command("bench growth")
  .description(
    "Measures layers and models of growing size, and writes results/NAME.json and results/NAME.svg.",
  )
  .option(
    "--orders <list>",
    "comma-separated orders n of the layers of (n, n)",
    numbers,
    numbers("256,512,1024,2048,4096,8192,16384"),
  )
  .option("--blocks <list>", "comma-separated depths of the model", numbers, numbers("4,8,16,32,48"))
  .option("--windows <list>", "comma-separated numbers of windows", numbers, numbers("16,32,64,128,256"))
  .option("--name <name>", "name of the results files", "growth");
const { orders, blocks, windows, backend, blas, name } = addBackendOption(command)
  .parse(Deno.args, { from: "user" }).opts<Options>();

removeKernelOverrides();
const device = await withBackend(
  backend,
  (opened): Promise<BenchDevice> => Promise.resolve({ backend: opened.kind, adapter: opened.adapter.name }),
  blas,
);
const scratch = await Deno.makeTempDir({ prefix: "pare-growth-" });
const finished: GrowthSeries[] = [];
let loadAverage = 0;
try {
  const { calibration: text } = await writeSotuTexts(scratch);
  const options = { backend, blas, text, scratch };
  await measureSeries("one layer", orders, (n) => measureLayer(n, options));
  await measureSeries(
    `blocks, ${FIXED.windows} windows`,
    blocks,
    (count) => measureModel({ ...FIXED, blocks: count }, `${count} blocks`, options),
  );
  await measureSeries(
    `windows, ${FIXED.blocks} blocks`,
    windows,
    (count) => measureModel({ ...FIXED, windows: count }, `${count} windows`, options),
  );
} finally {
  await Deno.remove(scratch, { recursive: true });
}
console.log(growthTable({ series: finished, loadAverage }));

/** Measures one series, and writes the results after each size. */
async function measureSeries(
  title: string,
  sizes: readonly number[],
  measure: (size: number) => Promise<GrowthPoint | RefusedSize>,
): Promise<void> {
  const points: GrowthPoint[] = [], refused: RefusedSize[] = [];
  if (sizes.length > 0) finished.push({ title, points, refused });
  for (const size of sizes) {
    const result = await measure(size);
    if ("reason" in result) refused.push(result);
    else points.push(result);
    loadAverage = Math.max(loadAverage, Deno.loadavg()[0]);
    console.error(
      "reason" in result ? `${result.size}: ${result.reason}` : `${result.size}: ${result.seconds} s`,
    );
    const series = finished.filter(({ points }) => points.length > 0);
    await writeResults(resultsUrl(name, "json"), device, { loadAverage, series });
    if (series.length > 0) await Deno.writeTextFile(resultsUrl(name, "svg"), growthChart({ series }));
  }
}

function numbers(list: string): number[] {
  return list.split(",").filter((text) => text !== "").map(Number);
}
