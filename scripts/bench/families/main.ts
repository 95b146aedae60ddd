/**
 * `deno run -A scripts/bench/families/main.ts`: prunes every trained model at hand to every sparsity and writes the
 * perplexities into results/families.json. A model measured before is kept, so that a run cut short goes on with the next;
 * `--again` measures all anew.
 */

import { Command } from "commander";
import { addBackendOption } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { withBackend } from "../in_process.ts";
import { machine } from "../machine.ts";
import { readResults, writeResults } from "../results_file.ts";
import { benchFamily, type FamilyResult } from "./bench_family.ts";
import { benchedModels } from "./models.ts";
import { type FamiliesFile, familiesTable } from "./table.ts";

const NAME = "families";

async function main(choice: BackendChoice, again: boolean): Promise<void> {
  const models = await benchedModels(console.log);
  let measured = again ? [] : await readMeasured();
  await withBackend(choice, async (backend) => {
    for (const model of models) {
      if (measured.some(({ name }) => name === model.name)) {
        console.log(`${model.name}: is kept from an earlier run`);
        continue;
      }
      measured = [...measured, await benchFamily(backend, model, console.log)];
      await writeResults<FamiliesFile>(NAME, {
        date: new Date().toISOString(),
        machine: await machine(),
        backend: backend.kind,
        adapter: backend.adapter.name,
        models: measured,
      });
    }
  });
  console.log(`\n${familiesTable({ models: measured })}`);
}

async function readMeasured(): Promise<readonly FamilyResult[]> {
  try {
    return (await readResults<FamiliesFile>(NAME)).models;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

if (import.meta.main) {
  const command = addBackendOption(
    new Command("families").description("prune the trained models at hand to every sparsity")
      .option("--again", "measure again what has been measured", false),
  );
  const { backend, again } = command.parse(Deno.args, { from: "user" })
    .opts<{ backend: BackendChoice; again: boolean }>();
  await main(backend, again);
}
