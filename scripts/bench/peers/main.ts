/**
 * The bench of the peers compares Pare with llm-compressor, another program that compresses models. Both
 * programs compress the same models with the same calibration windows. The bench measures the perplexity, the
 * time and the memory of all runs, writes results/NAME.json after each model, and prints the tables.
 *
 *     deno task peers:venv llm-compressor
 *     deno task bench:peers
 */

import { Command } from "commander";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { peersSkipReason, VENVS } from "../../peers/venv.ts";
import { matrixProducts } from "../measure/matrix_products.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { removeKernelOverrides } from "../torch/peer_environment.ts";
import { benchPeers } from "./bench_peers.ts";
import { listPeersModels } from "./models.ts";
import { findPeerBuilds } from "./peer_builds.ts";
import type { PeersResults } from "./peers_result.ts";
import { peersSettingsTable, peersTable } from "./table.ts";

interface Options {
  readonly models: string;
  readonly backend: BackendChoice;
  readonly repeat: number;
  readonly add?: boolean;
  readonly name: string;
}

const command = new Command("bench peers")
  .description("Compares Pare with llm-compressor on whole models, and writes results/NAME.json.")
  .option(
    "--models <list>",
    "comma-separated names of models; those that are not on this machine are skipped. opt-125m and llama-160m " +
      "have random weights",
    "opt-sotu,llama-sotu,stories260K,opt-125m,llama-160m",
  )
  .option("--repeat <n>", "repetitions of each run", integer(1), 3)
  .option("--add", "keep the other models of the results file, so that several commands measure the models")
  .option("--name <name>", "name of the results file", "peers");
const { models: names, backend, repeat, add, name } = addBackendOption(command)
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
removeKernelOverrides();
const products = await matrixProducts(backend);
const { usable: build, unusable } = await findPeerBuilds();
const wanted = new Set(names.split(","));
const file = resultsUrl(name, "json");
const before = add ? await readResultsIfPresent<PeersResults>(file) : undefined;
const others = before?.models.filter((model) => !wanted.has(model.name)) ?? [];
let results: PeersResults = { repeat, build, unusable, loadAverage, versions: {}, models: others };
for (const lazy of (await listPeersModels(log)).filter(({ name }) => wanted.has(name))) {
  const scratch = await Deno.makeTempDir({ prefix: "pare-peers-" });
  try {
    log(lazy.name);
    const model = await lazy.prepare(scratch);
    const { versions, ...result } = await benchPeers(model, scratch, { backend, products, repeat, log });
    results = { ...results, loadAverage, versions, models: [...results.models, result] };
    await writeResults(file, products[0].device, results);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}
if (results.models.length === 0) {
  console.error(`bench peers: option --models ${names}: none of these models is on this machine`);
  Deno.exit(1);
}
console.log([peersTable(results), peersSettingsTable(results)].join("\n\n"));
