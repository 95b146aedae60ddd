/**
 * The bench of the peers compares Pare with llm-compressor, another program that compresses models. Both
 * programs compress the same models with the same calibration windows. The bench measures the perplexity, the
 * time and the memory of all runs, writes results/NAME.json and prints the table.
 *
 *     deno task peers:venv llm-compressor
 *     deno task bench:peers
 */

import { Command } from "commander";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { peersSkipReason, VENVS } from "../../peers/venv.ts";
import { listModels } from "../families/models.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { benchPeers, type Programs } from "./bench_peers.ts";
import type { PeersResult } from "./peers_result.ts";
import { peersTable } from "./table.ts";

interface Options {
  readonly models: string;
  readonly backend: BackendChoice;
  readonly repeat: number;
  readonly threads: number;
  readonly name: string;
}

const command = new Command("bench peers")
  .description("Compares Pare with llm-compressor on whole models, and writes results/NAME.json.")
  .option(
    "--models <list>",
    "comma-separated names of models; those that are not on this machine are skipped",
    "opt-sotu,llama-sotu,stories260K",
  )
  .option("--repeat <n>", "repetitions of each run", integer(1), 3)
  .option(
    "--threads <n>",
    "OpenMP threads in each Python process",
    integer(1),
    navigator.hardwareConcurrency,
  )
  .option("--name <name>", "name of the results file", "peers");
const { models: names, backend, repeat, threads, name } = addBackendOption(command)
  .parse(Deno.args, { from: "user" }).opts<Options>();

const reason = await peersSkipReason(VENVS["llm-compressor"]);
if (reason !== undefined) {
  console.error(`bench peers: ${reason}`);
  Deno.exit(1);
}

let loadAverage = 0;
/** Prints a line and records the load of the machine. It is called after every run. */
const log = (text: string) => {
  loadAverage = Math.max(loadAverage, Deno.loadavg()[0]);
  console.error(text);
};
const wanted = new Set(names.split(","));
const models: PeersResult[] = [];
let last: Programs | undefined;
for (const model of (await listModels(log)).filter(({ name }) => wanted.has(name))) {
  const scratch = await Deno.makeTempDir({ prefix: "pare-peers-" });
  try {
    log(model.name);
    const { programs, ...result } = await benchPeers(model, scratch, { backend, repeat, threads, log });
    models.push(result);
    last = programs;
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}
if (!last) {
  console.error(`bench peers: option --models ${names}: none of these models is on this machine`);
  Deno.exit(1);
}
const results = { repeat, threads, loadAverage, versions: last.versions, models };
await writeResults(resultsUrl(name, "json"), last, results);
console.log(peersTable(results));
