/**
 * The families bench: prunes every trained model that exists on this machine to every sparsity target (such
 * as 50 % or 2:4), by SparseGPT and by magnitude. It writes the perplexities into results/families.json. The
 * models come from different model families such as OPT and LLaMA.
 *
 *     deno run -A scripts/bench/families/main.ts
 *
 * The results file is written after each model. Models that are already in the file are skipped, so an
 * interrupted run can be continued. `--again` measures all models anew.
 */

import { Command } from "commander";
import { openLocalHost } from "../../../src/cli/local_host.ts";
import { addBackendOption } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { benchFamily } from "./bench_family.ts";
import { listModels } from "./models.ts";
import { type FamiliesResults, familiesTable } from "./table.ts";

const FILE = resultsUrl("families", "json");

async function benchFamilies(choice: BackendChoice, again: boolean): Promise<void> {
  const models = await listModels(console.log);
  const earlier = again ? undefined : await readResultsIfPresent<FamiliesResults>(FILE);
  let results: FamiliesResults = { models: earlier?.models ?? [] };
  await using host = await openLocalHost(choice);
  const device = { backend: host.backend.kind, adapter: host.backend.adapter.name };
  for (const model of models) {
    if (results.models.some(({ name }) => name === model.name)) {
      console.log(`${model.name}: skipped, because an earlier run has measured it`);
      continue;
    }
    results = { models: [...results.models, await benchFamily(host, model, console.log)] };
    await writeResults(FILE, device, results);
  }
  console.log(`\n${familiesTable(results)}`);
}

if (import.meta.main) {
  const command = addBackendOption(
    new Command("families").description("prune the trained models on this machine to every sparsity")
      .option("--again", "measure all models anew", false),
  );
  const { backend, again } = command.parse(Deno.args, { from: "user" })
    .opts<{ backend: BackendChoice; again: boolean }>();
  await benchFamilies(backend, again);
}
