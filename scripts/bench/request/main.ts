/**
 * The request bench measures where the time of one `POST /v1/layers` goes. It starts a host on this machine, prints a table and
 * writes results/request.json. The file holds two measurements, `before` and `after`, and `--as` chooses the one that is replaced.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/request/main.ts --as after
 */

import { Command, Option } from "commander";
import { integer } from "../../../src/cli/options/common_options.ts";
import { parseSizes, type Size } from "../measure/layer_sizes.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { benchRequest, type RequestResult } from "./bench_request.ts";
import { startMeasuredHost } from "./host_process.ts";
import { type RequestResults, requestTable } from "./table.ts";

interface Options {
  readonly sizes: readonly Size[];
  readonly repeat: number;
  readonly name: string;
  readonly as: "before" | "after";
}

const { sizes, repeat, name, as } = new Command("bench request")
  .description("Times the stages of one request for a layer.")
  .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("768x768,4096x4096"))
  .option(
    "--repeat <n>",
    "timed requests of 768 × 768; a layer of four times the size gets a fourth",
    integer(1),
    100,
  )
  .option("--name <name>", "name of the results file", "request")
  .addOption(
    new Option("--as <name>", "the measurement to replace").choices(["before", "after"]).default("after"),
  )
  .parse(Deno.args, { from: "user" })
  .opts<Options>();

/** The number of weights of the layer that is requested `repeat` times, and the least number of requests for any layer. */
const REPEATED_AREA = 768 ** 2, LEAST_REQUESTS = 5;

await using host = await startMeasuredHost();
const layers: RequestResult[] = [];
for (const [rows, cols] of sizes) {
  const rounds = Math.max(LEAST_REQUESTS, Math.round(repeat * REPEATED_AREA / (rows * cols)));
  layers.push(...await benchRequest(host, rows, cols, rounds));
}
const earlier = await readResultsIfPresent<RequestResults>(resultsUrl(name, "json"));
const results: RequestResults = {
  before: earlier?.before ?? layers,
  after: earlier?.after ?? layers,
  [as]: layers,
};
console.log(requestTable(results));
await writeResults(resultsUrl(name, "json"), host, results);
