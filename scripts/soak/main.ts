/** `deno task soak`: runs the soak on one backend, and writes its figures to scripts/bench/results/soak.json beside those of other backends. */

import { Command } from "commander";
import type { BackendChoice } from "../../src/host/backends.ts";
import { addBackendOption, integer } from "../../src/cli/options/common_options.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../bench/report/results_file.ts";
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
const file = resultsUrl("soak", "json");
const results: SoakResults = {
  soak: {
    ...(await readResultsIfPresent<SoakResults>(file))?.soak,
    [host.backend]: { ...figures, adapter: host.adapter },
  },
};
console.log(soakTable(results));
for (const text of figures.unexpected.first) console.error(text);
const adapter = Object.values(results.soak).map(({ adapter }) => adapter).join(" and ");
if (save) await writeResults(file, { ...host, adapter }, results);
if (!isPassed(figures)) Deno.exit(1);
