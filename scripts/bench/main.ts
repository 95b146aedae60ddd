/**
 * `deno task bench`: the command line of the benches that time single layers. By default it runs the layer bench (`layers/`),
 * which times layers on a Pare host and in PyTorch. Options add the latency bench and a chart, or run the GPU bench or a
 * projection instead. `README.md` in this folder lists all benches and shows their results.
 */

import { benchLatency } from "./latency/bench_latency.ts";
import { benchLayers } from "./layers/bench_layers.ts";
import type { LayersResults } from "./layers/layers_results.ts";
import { parseArguments } from "./options.ts";
import { MODELS } from "./projection/model_shapes.ts";
import { projectionTable } from "./projection/table.ts";
import { readResults, resultsUrl } from "./report/results_file.ts";

async function printProjection(model: string, name: string): Promise<void> {
  const results = await readResults<LayersResults>(resultsUrl(name, "json"));
  console.log(projectionTable(MODELS[model], results));
}

async function drawChart(name: string): Promise<void> {
  // The charting library is loaded here and not at the top, so that no bench waits for it.
  const { ratioChart } = await import("./layers/ratio_chart.ts");
  const { layers } = await readResults<LayersResults>(resultsUrl(name, "json"));
  await Deno.writeTextFile(resultsUrl(name, "svg"), ratioChart(layers));
}

const options = parseArguments(Deno.args);
if (options.project) {
  await printProjection(options.project, options.name);
} else if (options.gpu) {
  const { benchGpu } = await import("./gpu/bench_gpu.ts");
  await benchGpu(options);
} else {
  await benchLayers(options);
  if (options.http) await benchLatency(options.backend);
  if (options.chart) await drawChart(options.name);
}
