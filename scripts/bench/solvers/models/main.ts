/**
 * The solvers bench on whole models compares all pruning methods by the relative error of every layer, the
 * perplexity of the pruned model, and the time. It writes results/solvers.json and prints its tables. It also
 * prints whether each gate, which is a requirement on the figures, has passed.
 *
 *     deno task bench:solvers [--models opt-sotu,llama-sotu] [--methods "SparseGPT,ALPS default"] [--again]
 *
 * The results file is written after each cell, which is one method at one target. Cells that are already in
 * the file are skipped, so an interrupted run can be continued.
 */

import { Command } from "commander";
import { openLocalHost } from "../../../../src/cli/local_host.ts";
import { addBackendOption } from "../../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../../src/host/backends.ts";
import { listModels } from "../../families/models.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../../report/results_file.ts";
import { benchModel, type ModelResult, withoutCells } from "./bench_models.ts";
import { listCells } from "./cells.ts";
import { evaluateGates, gateTable } from "./gates.ts";
import { errorTable, perplexityTable, roundingTable, secondsTable, type SolverResults } from "./tables.ts";

interface Options {
  readonly models?: string;
  readonly methods?: string;
  readonly again: boolean;
  readonly backend: BackendChoice;
}

const FILE = resultsUrl("solvers", "json");

const command = new Command("bench solvers")
  .description("Compares all solvers on whole models, and writes results/solvers.json.")
  .option("--models <list>", "comma-separated names; all models on this machine by default")
  .option("--methods <list>", "comma-separated methods, as the tables name them; all by default")
  .option("--again", "measure the chosen cells again if the results file has them", false);
const options = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<Options>();
const results = await benchSolvers(options);
const tables = [errorTable, perplexityTable, secondsTable, roundingTable].map((table) => table(results));
console.log(`\n${[...tables, gateTable(evaluateGates(results))].join("\n\n")}`);

async function benchSolvers({ models: names, methods, again, backend }: Options): Promise<SolverResults> {
  const chosen = names?.split(","), chosenMethods = methods?.split(",");
  const cells = listCells().filter(({ method }) => chosenMethods?.includes(method) ?? true);
  const models = (await listModels(console.log)).filter(({ name }) => chosen?.includes(name) ?? true);
  const earlier = await readResultsIfPresent<SolverResults>(FILE);
  const results = new Map<string, ModelResult>(earlier?.models.map((model) => [model.name, model]));
  await using host = await openLocalHost(backend);
  const device = { backend: host.backend.kind, adapter: host.backend.adapter.name };
  for (const model of models) {
    const stored = results.get(model.name);
    await benchModel(host, model, cells, again && stored ? withoutCells(stored, cells) : stored, {
      log: console.log,
      async save(result) {
        results.set(model.name, result);
        await writeResults<SolverResults>(FILE, device, { models: [...results.values()] });
      },
    });
  }
  return { models: [...results.values()] };
}
