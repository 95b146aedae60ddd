/** `deno task faults`: causes faults of every kind, counts what survives, and writes scripts/bench/results/faults.json. */

import { Command } from "commander";
import { integer } from "../../src/cli/options/common_options.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../bench/report/results_file.ts";
import { type FaultCount, Tally } from "./fault_kind.ts";
import { KINDS } from "./kinds.ts";
import { type FaultResults, faultTable } from "./table.ts";

interface Options {
  readonly only?: string;
  readonly seed: number;
  readonly short: boolean;
  readonly save: boolean;
}

const command = new Command("faults")
  .description(
    "Causes faults of every kind, and checks that the final bytes are those of an undisturbed run.",
  )
  .option("--only <names>", `comma-separated kinds: ${KINDS.map(({ name }) => name).join(", ")}`)
  .option("--seed <n>", "seed of all random moments", integer(0), 1)
  .option("--short", "only as many faults as the tests cause", false)
  .option("--no-save", "do not write results/faults.json");
const { only, seed, short, save } = command.parse(Deno.args, { from: "user" }).opts<Options>();

const file = resultsUrl("faults", "json");
const faults: Record<string, FaultCount & { seconds: number }> = {
  ...only === undefined ? {} : (await readResultsIfPresent<FaultResults>(file))?.faults,
};
let lost = 0;
for (const kind of KINDS.filter(({ name }) => only === undefined || only.split(",").includes(name))) {
  const tally = new Tally(), started = performance.now();
  await kind.run(short ? kind.tries.test : kind.tries.full, tally, seed);
  const count = tally.count(), seconds = Math.round((performance.now() - started) / 1000);
  faults[kind.name] = { ...count, seconds };
  lost += count.lost;
  console.error(`${kind.name}: tried ${count.tried}, lost ${count.lost}, ${seconds} s`);
  for (const failure of count.failures) console.error(`  ${failure}`);
  const backend = { backend: "cpu", adapter: `WebAssembly SIMD, ${navigator.hardwareConcurrency} threads` };
  if (save) await writeResults<FaultResults>(file, backend, { faults });
}
console.log(faultTable({ faults }));
Deno.exit(lost === 0 ? 0 : 1);
