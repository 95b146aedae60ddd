/** `deno task soak`: runs the soak, prints its figures, and writes scripts/bench/results/soak.json. */

import { Command } from "commander";
import type { BackendChoice } from "../../src/host/backends.ts";
import { addBackendOption, integer } from "../../src/cli/options/common_options.ts";
import { resultsUrl, writeResults } from "../bench/report/results_file.ts";
import { isPassed, type SoakResults, soakTable } from "./table.ts";
import { soak } from "./soak.ts";

interface Options {
  readonly minutes: number;
  readonly clients: number;
  readonly save: boolean;
  readonly backend: BackendChoice;
}

const command = new Command("soak")
  .description(
    "Lets many clients use a host for a long time, and compares every answer with its expected bytes.",
  )
  .option("--minutes <n>", "length of the soak", integer(1), 60)
  .option("--clients <n>", "number of clients at the same time", integer(1), 64)
  .option("--no-save", "do not write results/soak.json");
const { minutes, clients, backend, save } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();
const { figures, host } = await soak({ minutes, clients, backend, report: (line) => console.error(line) });
const results: SoakResults = { soak: figures };
console.log(soakTable(results));
for (const text of figures.unexpected.first) console.error(text);
if (save) await writeResults(resultsUrl("soak", "json"), host, results);
if (!isPassed(figures)) Deno.exit(1);
