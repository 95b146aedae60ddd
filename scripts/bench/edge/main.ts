/**
 * What the edge costs, everything on this machine: `deno run -A scripts/paired.ts run -A scripts/bench/edge/main.ts`. The edge is
 * `wrangler dev --local`, so that the times are those of its local runtime, bucket and jobs, not of Cloudflare's. Prints the
 * table and writes results/edge.json.
 */

import { Command } from "commander";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { addBackendOption } from "../../../src/cli/options/common_options.ts";
import { integer } from "../../../src/cli/options/numbers.ts";
import { startEdgeWithHost } from "../../edge_with_host.ts";
import { machine } from "../machine.ts";
import { parseSizes, type Size } from "../options.ts";
import { type Measured, writeResults } from "../results_file.ts";
import { benchEdge, type EdgeResult } from "./bench_edge.ts";
import { edgeTable } from "./table.ts";

interface Options {
  readonly sizes: readonly Size[];
  readonly repeat: number;
  readonly name: string;
  readonly backend: BackendChoice;
}

/** What is written. */
export interface EdgeFile extends Measured {
  readonly layers: readonly EdgeResult[];
}

const command = new Command("bench edge")
  .description("Times one layer to a host, through the edge, and as an upload and a job.")
  .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("2048x2048,4096x4096"))
  .option("--repeat <n>", "timed rounds a size, after one that is not", integer(1), 5)
  .option("--name <name>", "name of the results file", "edge");
const { sizes, repeat, name, backend } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();

const folder = await Deno.makeTempDir({ prefix: "pare-bench-" });
try {
  // No layer of a bench is too large for what it passes through.
  const vars = { EDGE_BODY_LIMIT: String(Number.MAX_SAFE_INTEGER) };
  await using pair = await startEdgeWithHost({ backend, folder, vars });
  const layers: EdgeResult[] = [];
  for (const [rows, cols] of sizes) layers.push(await benchEdge(pair, rows, cols, repeat));
  console.log(edgeTable(layers));
  await writeResults<EdgeFile>(name, {
    date: new Date().toISOString(),
    machine: await machine(),
    backend: pair.host.backend,
    adapter: pair.host.adapter,
    layers,
  });
} finally {
  await Deno.remove(folder, { recursive: true });
}
