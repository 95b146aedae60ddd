/**
 * The Python bench: measures how much time the Python client adds to a request, beside the TypeScript SDK and
 * a bare HTTP request. The bench starts a host on this machine, prints its table and writes
 * results/python_client.json. It needs `deno task peers:venv`.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/python/main.ts
 */

import { Command } from "commander";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import { startHost } from "../../processes/child_host.ts";
import { parseSizes, type Size } from "../measure/layer_sizes.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { benchPython, type PythonResult } from "./bench_python.ts";
import { type PythonResults, pythonTable } from "./table.ts";

interface Options {
  readonly sizes: readonly Size[];
  readonly repeat: number;
  readonly name: string;
  readonly backend: BackendChoice;
}

const command = new Command("bench python")
  .description("Times one layer with the Python client, the TypeScript SDK and a bare HTTP request.")
  .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("768x768"))
  .option("--repeat <n>", "timed requests of each client, after five that are not timed", integer(1), 30)
  .option("--name <name>", "name of the results file", "python_client");
const { sizes, repeat, name, backend } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();

const [loadAverage] = Deno.loadavg();
await using host = await startHost(["--backend", backend]);
const layers: PythonResult[] = [];
for (const [rows, cols] of sizes) layers.push(...await benchPython(host, rows, cols, repeat));
const results: PythonResults = { loadAverage, layers };
console.log(pythonTable(results));
await writeResults(resultsUrl(name, "json"), host, results);
