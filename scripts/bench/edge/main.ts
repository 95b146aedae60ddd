/**
 * The edge bench: measures how much time the edge adds to solving a layer. The edge is Pare's Cloudflare
 * Worker in front of the GPU hosts. Here the edge and one host run on this machine. The bench prints its
 * table and writes results/edge.json.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/edge/main.ts
 *
 * The edge runs in `wrangler dev --local`, which emulates Cloudflare's runtime, bucket and jobs. The times on
 * Cloudflare itself are different.
 */

import { Command } from "commander";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import { startEdgeWithHost } from "../../processes/edge_with_host.ts";
import { parseSizes, type Size } from "../measure/layer_sizes.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { benchEdge, type EdgeResult } from "./bench_edge.ts";
import { type EdgeResults, edgeTable } from "./table.ts";

interface Options {
  readonly sizes: readonly Size[];
  readonly repeat: number;
  readonly name: string;
  readonly backend: BackendChoice;
}

const command = new Command("bench edge")
  .description("Times one layer in three ways: at a host, through the edge, and by an upload and a job.")
  .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("2048x2048,4096x4096"))
  .option("--repeat <n>", "timed rounds for each size, after one round that is not timed", integer(1), 5)
  .option("--name <name>", "name of the results file", "edge");
const { sizes, repeat, name, backend } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();

const folder = await Deno.makeTempDir({ prefix: "pare-bench-" });
try {
  // The body limit is lifted, so that no layer of the bench is refused for its size.
  const vars = { EDGE_BODY_LIMIT: String(Number.MAX_SAFE_INTEGER) };
  await using pair = await startEdgeWithHost({ backend, folder, vars });
  const layers: EdgeResult[] = [];
  for (const [rows, cols] of sizes) layers.push(await benchEdge(pair, rows, cols, repeat));
  const results: EdgeResults = { layers };
  console.log(edgeTable(results));
  await writeResults(resultsUrl(name, "json"), pair.host, results);
} finally {
  await Deno.remove(folder, { recursive: true });
}
