/**
 * The allocation bench prunes the test models of this repository by SparseGPT with every allocation. An
 * allocation is a rule of `pare prune --allocate` that distributes the zeros over the layers. The bench
 * writes the perplexities into results/allocation.json and prints the table.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/allocation/main.ts
 */

import { Command } from "commander";
import { openLocalHost } from "../../../src/cli/local_host.ts";
import { addBackendOption } from "../../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { listFixtures } from "../families/models.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { type AllocationResult, benchAllocation } from "./bench_allocation.ts";
import { allocationTable } from "./table.ts";

async function benchAllocations(choice: BackendChoice): Promise<void> {
  await using host = await openLocalHost(choice);
  const device = { backend: host.backend.kind, adapter: host.backend.adapter.name };
  const models: AllocationResult[] = [];
  for (const model of listFixtures()) models.push(await benchAllocation(host, model, console.log));
  await writeResults(resultsUrl("allocation", "json"), device, { models });
  console.log(`\n${allocationTable({ models })}`);
}

if (import.meta.main) {
  const command = addBackendOption(
    new Command("allocation").description(
      "Measures the perplexity of the test models after pruning with every allocation.",
    ),
  );
  const { backend } = command.parse(Deno.args, { from: "user" }).opts<{ backend: BackendChoice }>();
  await benchAllocations(backend);
}
