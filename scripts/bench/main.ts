/**
 * `deno task bench`: solves layers through `POST /v1/layers` on a host of its own, beside PyTorch running the published algorithm
 * on the same file, in turn. Before a size is timed its loss is checked against the reference's. Writes
 * `scripts/bench/results/NAME.json` and prints the table.
 */

import { Command } from "commander";
import { startHost } from "../child_host.ts";
import { benchLayer, type LayerResult } from "./bench_layer.ts";
import { machine } from "./machine.ts";
import { layerTable } from "./table.ts";
import { findPython } from "./torch.ts";

/** The sizes of DESIGN's targets, rows × cols. */
const SIZES = ["768x768", "768x3072", "2048x2048", "4096x4096"];

const program = new Command("bench")
  .option("--sizes <list>", "comma-separated ROWSxCOLS", SIZES.join())
  .option("--backend <kind>", "auto, cpu or webgpu", "auto")
  .option("--repeat <n>", "timed pairs a size, after one that is not", "5")
  .option("--name <name>", "name of the results file", "layers")
  .parse(["deno", "bench", ...Deno.args]);
const options = program.opts<{ sizes: string; backend: string; repeat: string; name: string }>();

const python = await findPython();
if (!python) console.error("no Python with torch and safetensors was found: timing without the reference");

await using host = await startHost(["--backend", options.backend]);
const layers: LayerResult[] = [];
for (const size of options.sizes.split(",")) {
  const [rows, cols] = size.split("x").map(Number);
  layers.push(await benchLayer(host, python, rows, cols, Number(options.repeat)));
  console.error(layerTable(layers.slice(-1)));
}

const result = {
  date: new Date().toISOString(),
  machine: await machine(),
  backend: host.backend,
  adapter: host.adapter,
  layers,
};
const folder = new URL("./results/", import.meta.url);
await Deno.mkdir(folder, { recursive: true });
await Deno.writeTextFile(new URL(`${options.name}.json`, folder), JSON.stringify(result, null, 2) + "\n");
console.log(layerTable(layers));
