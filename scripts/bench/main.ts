/**
 * `deno task bench NAME [options]`: runs one bench, writes `results/NAME.json`, and prints its tables. Without a name it lists
 * the benches.
 */

import { Command } from "commander";
import { addBackendOption } from "../../src/cli/options/common_options.ts";
import { benchNames, type CommonBenchOptions, loadBench } from "./bench.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "./report/results_file.ts";

const [name, ...args] = Deno.args;
if (name === undefined || name.startsWith("-")) {
  for (const bench of benchNames()) {
    console.log(`${bench.padEnd(18)} ${(await loadBench(bench)).description}`);
  }
  Deno.exit(name === undefined ? 2 : 0);
}
const bench = await loadBench(name);
const command = new Command(`bench ${name}`).description(bench.description)
  .option("--name <name>", "name of the results file", name);
addBackendOption(bench.options?.(command) ?? command).parse(args, { from: "user" });
const options = command.opts<CommonBenchOptions>(), file = resultsUrl(options.name, "json");
const scratch = await Deno.makeTempDir({ prefix: `pare-${name}-` });
let results: object;
try {
  results = await bench.measure(options, {
    earlier: await readResultsIfPresent<object>(file),
    scratch,
    save: (...saved) => writeResults(file, ...saved),
  });
} finally {
  await Deno.remove(scratch, { recursive: true });
}
console.log(Object.values(bench.tables).map((table) => table(results)).join("\n\n"));
Deno.exit(bench.passes?.(results) ?? true ? 0 : 1);
