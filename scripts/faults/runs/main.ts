/**
 * `deno task faults:runs`: damages unfinished runs in random ways, and checks that no damage reaches a finished checkpoint. Writes
 * `scripts/bench/results/faults_runs.json`, and exits with 1 if a run ended in wrong bytes or in a defect.
 */

import { Command } from "commander";
import { integer } from "../../../src/cli/options/common_options.ts";
import { openBackend } from "../../../src/cli/local_host.ts";
import { resultsUrl, writeResults } from "../../bench/report/results_file.ts";
import { damagesTable } from "./table.ts";
import { tryDamages } from "./try_damages.ts";

const command = new Command("faults:runs").description("damage unfinished runs in random ways")
  .option("--count <n>", "number of damages", integer(1), 2000)
  .option("--seed <n>", "seed of the first damage", integer(0), 1)
  .parse(Deno.args, { from: "user" });
const { count, seed } = command.opts<{ count: number; seed: number }>();
const results = await tryDamages(count, seed, (done) => {
  if (done % 100 === 0) console.error(`${done}/${count}`);
});
const backend = await openBackend("cpu");
await writeResults(resultsUrl("faults_runs", "json"), {
  backend: backend.kind,
  adapter: backend.adapter.name,
}, results);
console.log(damagesTable(results));
for (const failure of results.failures) console.error(failure);
Deno.exit(results.failures.length > 0 ? 1 : 0);
