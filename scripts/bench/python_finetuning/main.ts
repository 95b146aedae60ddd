/**
 * The bench of fine-tuning: prunes opt-sotu to 50 % and to 2:4, fine-tunes the pruned models with the Python package
 * in several ways, prints the perplexities and writes results/python_finetuning.json. It needs
 * `deno task peers:venv`.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/python_finetuning/main.ts
 */

import { Command } from "commander";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { fixtureModel } from "../families/models.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { benchFinetuning } from "./bench_finetuning.ts";
import { finetuningTable } from "./table.ts";

interface Options {
  readonly windows: number;
  readonly name: string;
  readonly backend: BackendChoice;
}

const command = new Command("bench python_finetuning")
  .description("Fine-tunes pruned models with kept zeros in several ways, and writes results/NAME.json.")
  .option("--windows <n>", "windows of the calibration text to train on, eight per step", integer(8), 384)
  .option("--name <name>", "name of the results file", "python_finetuning");
const { windows, name, backend } = addBackendOption(command).parse(Deno.args, { from: "user" })
  .opts<Options>();

const scratch = await Deno.makeTempDir({ prefix: "pare-finetuning-" });
try {
  const { adapter, ...results } = await benchFinetuning(fixtureModel("opt-sotu"), scratch, {
    backend,
    windows,
    log: (text) => console.error(text),
  });
  await writeResults(resultsUrl(name, "json"), adapter, results);
  console.log(finetuningTable(results));
} finally {
  await Deno.remove(scratch, { recursive: true });
}
