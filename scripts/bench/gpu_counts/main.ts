/**
 * `deno task gpu:counts`: counts the work of the layers of OPT-175B on a GPU with the limits of an H100. No
 * GPU is needed, because nothing is computed. With `--save NAME`, the counts are stored in
 * `results/gpu_counts.json` under that name.
 */

import { parseArgs } from "node:util";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { countLayer, type LayerCounts } from "./count_layer.ts";
import { H100 } from "./recording_backend.ts";
import { type GpuCounts, gpuCountsTable } from "./table.ts";

/** The rows and columns of the layers of OPT-175B. */
const LAYERS = [[12288, 12288], [49152, 12288], [12288, 49152]] as const;

const { values } = parseArgs({ args: Deno.args, options: { save: { type: "string" } } });
const layers: LayerCounts[] = [];
for (const [rows, cols] of LAYERS) layers.push(await countLayer(H100, rows, cols));
const state = values.save ?? "now", file = resultsUrl("gpu_counts", "json");
const stored = (await readResultsIfPresent<GpuCounts>(file))?.states ?? [];
const states = [...stored.filter((other) => other.state !== state), { state, layers }];
console.log(gpuCountsTable({ limits: H100, states }));
if (values.save) await writeResults(file, { backend: "none", adapter: H100.name }, { limits: H100, states });
