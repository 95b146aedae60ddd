/**
 * `deno task demo`: prunes a trained model in four ways through a host that it starts, and prints the results. For each way
 * it calibrates the model on text that the model was not trained on, sends every linear layer to the host over HTTP, writes
 * the pruned checkpoint, opens that checkpoint again, and measures its perplexity on other text.
 */

import { Command } from "commander";
import { type BackendChoice, selectBackend } from "../../src/host/backends.ts";
import { addBackendOption } from "../../src/cli/options/common_options.ts";
import { Output } from "../../src/cli/terminal/output.ts";
import { secondsText } from "../../src/prune/report/format.ts";
import { messageOf } from "../../src/base/errors.ts";
import { type BenchDevice, writeResults } from "../bench/report/results_file.ts";
import { startHost } from "../processes/child_host.ts";
import { openDemoModel } from "./demo_model.ts";
import { measureDense, measurePruned, type PruneWay } from "./measure_ways.ts";
import { type DemoResults, errorTable, perplexityTable, secondsTable } from "./tables.ts";

const OUT = "out/demo";

const WAYS: readonly PruneWay[] = [
  { title: "magnitude 50 %", folder: `${OUT}/magnitude-50`, query: { method: "magnitude", sparsity: 0.5 } },
  { title: "SparseGPT 50 %", folder: `${OUT}/sparsegpt-50`, query: { method: "sparsegpt", sparsity: 0.5 } },
  { title: "magnitude 2:4", folder: `${OUT}/magnitude-2-4`, query: { method: "magnitude", pattern: "2:4" } },
  { title: "SparseGPT 2:4", folder: `${OUT}/sparsegpt-2-4`, query: { method: "sparsegpt", pattern: "2:4" } },
];

/** Prunes the model in all ways and prints the results. */
export async function runDemo(
  choice: BackendChoice,
): Promise<{ readonly device: BenchDevice; readonly results: DemoResults }> {
  const started = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const host = cleanup.use(await startHost(["--backend", choice]));
  const backend = cleanup.adopt(await selectBackend(choice), (opened) => opened.dispose());
  console.log(`host     ${host.url}, in its own process, on ${host.backend}: ${host.adapter}`);
  console.log(`forward  in this process, on ${backend.kind}: ${backend.adapter.name}`);
  const demoModel = cleanup.use(await openDemoModel());
  const { calibration, evaluationWindows, seqlen } = demoModel;
  console.log(
    `text     State of the Union addresses: calibration on ${calibration.length} windows of ${seqlen} tokens ` +
      `from 1990–2008, evaluation on ${evaluationWindows} windows from 2009–2016`,
  );
  const setting = { backend, hostUrl: host.url, demoModel, output: new Output(false) };
  const runs = [await measureDense(setting)];
  for (const way of WAYS) runs.push(await measurePruned(way, setting));
  console.log(`\n${perplexityTable(runs)}\n\n${errorTable(runs)}\n\n${secondsTable(runs)}\n`);
  const seconds = (performance.now() - started) / 1000;
  console.log(`The pruned checkpoints are in ${OUT}. The demo took ${secondsText(seconds)}.`);
  return { device: { backend: host.backend, adapter: host.adapter }, results: { runs } };
}

if (import.meta.main) {
  const command = addBackendOption(
    new Command("demo").description("prune a trained model through a host on this machine")
      .option("--results <file>", "also write the results as JSON"),
  );
  const { backend, results: file } = command.parse(Deno.args, { from: "user" })
    .opts<{ backend: BackendChoice; results?: string }>();
  try {
    const { device, results } = await runDemo(backend);
    if (file !== undefined) await writeResults(file, device, results);
  } catch (error) {
    console.error(`The demo failed: ${messageOf(error)}`);
    Deno.exit(1);
  }
}
