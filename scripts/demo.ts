/**
 * `deno task demo`: prunes a real trained model through a host of its own process, four ways, and shows what came of it. Each way
 * calibrates on text the model has not seen, sends every linear layer over HTTP, writes a checkpoint, opens it again and measures
 * its perplexity on other text.
 */

import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { calibrationWindows } from "../src/calibration/windows.ts";
import type { Backend } from "../src/backend/backend.ts";
import { addBackendOption } from "../src/cli/options/common_options.ts";
import { denoFileSystem } from "../src/cli/files/deno_file_system.ts";
import { formatSeconds } from "../src/report/format.ts";
import { Output } from "../src/cli/terminal/output.ts";
import { writePruned } from "./write_pruned.ts";
import type { LayerEvent } from "../src/client/events.ts";
import { Pare } from "../src/client/pare.ts";
import type { LayerQuery } from "../src/client/query.ts";
import { openCheckpoint } from "../src/checkpoint/checkpoint.ts";
import { openModel } from "../src/models/model.ts";
import { encodeText, loadTokenizer } from "../src/models/tokenizer/tokenizer.ts";
import { perplexity } from "../src/evaluation/perplexity.ts";
import { calibratedModel } from "../src/prune/prune_model.ts";
import { type BackendChoice, selectBackend } from "../src/host/backends.ts";
import { machine } from "./bench/machine.ts";
import { type ChildHost, startHost } from "./child_host.ts";
import { PhaseClock } from "./demo/phases.ts";
import { errorTable, perplexityTable, phaseTable, type Run } from "./demo/tables.ts";
import { sotuText } from "./sotu_text.ts";
import { messageOf } from "../src/text/message_of.ts";

const MODEL = fileURLToPath(new URL("../tests/fixtures/models/opt-sotu", import.meta.url));
const OUT = "out/demo";
/** The windows of the model's training; its reference numbers are on the same ones. */
const SEQLEN = 256;
const CALIBRATION_WINDOWS = 64;
const EVALUATION_WINDOWS = 128;

const WAYS: readonly { readonly title: string; readonly folder: string; readonly query: LayerQuery }[] = [
  { title: "magnitude 50 %", folder: "magnitude-50", query: { method: "magnitude", sparsity: 0.5 } },
  { title: "SparseGPT 50 %", folder: "sparsegpt-50", query: { method: "sparsegpt", sparsity: 0.5 } },
  { title: "magnitude 2:4", folder: "magnitude-2-4", query: { method: "magnitude", pattern: "2:4" } },
  { title: "SparseGPT 2:4", folder: "sparsegpt-2-4", query: { method: "sparsegpt", pattern: "2:4" } },
];

/** What every way shares. */
interface Setting {
  readonly backend: Backend;
  readonly hostUrl: string;
  readonly calibration: readonly Uint32Array[];
  readonly evaluation: Uint32Array;
  readonly output: Output;
}

async function demo(choice: BackendChoice, results?: string): Promise<void> {
  const started = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const host = cleanup.use(await startHost(["--backend", choice]));
  const backend = cleanup.adopt(await selectBackend(choice), (opened) => opened.dispose());
  console.log(`host     ${host.url}, a process of its own, on ${host.backend}: ${host.adapter}`);
  console.log(`forward  in this process, on ${backend.kind}: ${backend.adapter.name}`);
  const tokenizer = await loadTokenizer(MODEL, denoFileSystem);
  const tokens = async (part: "calibration" | "evaluation") =>
    encodeText(tokenizer, await sotuText(part), "txt");
  const setting: Setting = {
    backend,
    hostUrl: host.url,
    calibration: calibrationWindows(await tokens("calibration"), {
      windows: CALIBRATION_WINDOWS,
      seqlen: SEQLEN,
    }),
    evaluation: await tokens("evaluation"),
    output: new Output(false),
  };
  console.log(
    `text     State of the Union: calibrated on ${CALIBRATION_WINDOWS} windows of ${SEQLEN} tokens of 1990–2008, ` +
      `measured on ${EVALUATION_WINDOWS} of 2009–2016`,
  );
  const runs = [await dense(setting)];
  for (const way of WAYS) runs.push(await pruned(way, setting));
  console.log(`\n${perplexityTable(runs)}\n\n${errorTable(runs)}\n\n${phaseTable(runs)}\n`);
  if (results !== undefined) await save(results, host, runs);
  console.log(
    `pruned checkpoints are in ${OUT}; all of it took ${formatSeconds((performance.now() - started) / 1000)}`,
  );
}

/** Keeps what was shown, with the machine it was measured on. */
async function save(path: string, { backend, adapter }: ChildHost, runs: readonly Run[]): Promise<void> {
  const result = { date: new Date().toISOString(), machine: await machine(), backend, adapter, runs };
  await Deno.writeTextFile(path, JSON.stringify(result, null, 2) + "\n");
}

/** The model as it is. */
async function dense(setting: Setting): Promise<Run> {
  const clock = new PhaseClock();
  const measured = await clock.time("evaluate", () => evaluate(MODEL, setting));
  return { title: "dense", perplexity: measured, layers: [], seconds: clock.seconds };
}

/** The model pruned one way, written, opened again and measured. */
async function pruned({ title, folder, query }: (typeof WAYS)[number], setting: Setting): Promise<Run> {
  const clock = new PhaseClock();
  const out = `${OUT}/${folder}`;
  const layers = await prune(out, title, query, clock, setting);
  const measured = await clock.time("evaluate", () => evaluate(out, setting));
  return { title, perplexity: measured, layers, seconds: clock.seconds };
}

async function prune(
  out: string,
  title: string,
  query: LayerQuery,
  clock: PhaseClock,
  { backend, hostUrl, calibration, output }: Setting,
): Promise<LayerEvent[]> {
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(MODEL, denoFileSystem), (opened) => opened.close());
  const progress = cleanup.adopt(output.progress(title.padEnd(14)), (bar) => bar.stop());
  const pare = new Pare({ baseUrl: hostUrl, fetch: clock.fetch });
  const layers: LayerEvent[] = [];
  await writePruned(checkpoint, out, true, async (writer) => {
    const source = calibratedModel(openModel(checkpoint), backend, {
      windows: calibration,
      onReplace: (name, weight) => clock.time("write", () => writer.replace(name, weight)),
      progress: (done, total) => progress.note(`calibrating ${done}/${total}`),
    });
    progress.step(0, source.layerCount);
    for await (const event of pare.pruneModel(clock.calibrating(source), query)) {
      if (event.type !== "layer") continue;
      layers.push(event);
      clock.charge(event.report);
      progress.step(event.done, source.layerCount, event.name);
    }
  });
  return layers;
}

async function evaluate(folder: string, { backend, evaluation }: Setting): Promise<number> {
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const measured = await perplexity(openModel(checkpoint), backend, evaluation, {
    seqlen: SEQLEN,
    windows: EVALUATION_WINDOWS,
  });
  return measured.perplexity;
}

if (import.meta.main) {
  const command = addBackendOption(
    new Command("demo").description("prune a real model through a local host")
      .option("--results <file>", "also write what is shown as JSON"),
  );
  const { backend, results } = command.parse(Deno.args, { from: "user" })
    .opts<{ backend: BackendChoice; results?: string }>();
  try {
    await demo(backend, results);
  } catch (error) {
    console.error(`demo failed: ${messageOf(error)}`);
    Deno.exit(1);
  }
}
