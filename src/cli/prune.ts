/** `pare prune MODEL --out DIR`: calibrates a model here, has each layer solved, and writes the pruned checkpoint. */

import { Command } from "commander";
import { calibrationWindows } from "../calibration/windows.ts";
import type { LayerEvent, PruneEvent } from "../client/events.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { type Model, openModel } from "../models/model.ts";
import { loadTokenizer, readTokens } from "../models/tokenizer.ts";
import { calibratedModel } from "../pipeline/prune_model.ts";
import {
  addBackendOption,
  addCommonOptions,
  addServerOptions,
  type CommonOptions,
  type ConnectOptions,
} from "./common_options.ts";
import { denoFileSystem } from "./file_system.ts";
import { formatError, formatSeconds } from "./format.ts";
import { addLayerOptions, type LayerOptions, layerQuery } from "./layer_options.ts";
import { openLocalHost } from "./local_host.ts";
import { integer } from "./numbers.ts";
import { Output } from "./output.ts";
import type { Progress } from "./progress.ts";
import { remoteClient } from "./remote_client.ts";
import { addSeqlenOption, windowTokens } from "./windows.ts";
import { writePruned } from "./write_pruned.ts";

/** The published code's number of calibration windows. */
const DEFAULT_SAMPLES = 128;

interface Options extends CommonOptions, ConnectOptions, LayerOptions {
  readonly out: string;
  readonly calibration: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly overwrite?: boolean;
}

/** The command, stopped by `signal`. */
export function pruneCommand(signal: AbortSignal): Command {
  const command = new Command("prune")
    .description("prune every linear layer of a model's blocks and write the pruned checkpoint")
    .argument("<model>", "a Hugging Face checkpoint folder")
    .requiredOption("--out <folder>", "where to write the pruned checkpoint")
    .requiredOption("--calibration <file>", "text to calibrate on: .txt, or .jsonl with a document a line")
    .option("--samples <n>", "calibration windows", integer(1), DEFAULT_SAMPLES)
    .option(
      "--seed <n>",
      "draw the windows at random from this seed (default: evenly spaced)",
      integer(0, 2 ** 32 - 1),
    )
    .option("--overwrite", "replace a checkpoint already there");
  addSeqlenOption(command, 1);
  addCommonOptions(addBackendOption(addServerOptions(addLayerOptions(command))));
  return command.action((model: string, options: Options) => prune(model, options, signal));
}

async function prune(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const query = layerQuery(options);
  const started = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const model = openModel(checkpoint);
  const windows = await readWindows(folder, model, options);
  const output = new Output(options.json ?? false);
  const layers = await writePruned(checkpoint, options.out, options.overwrite ?? false, async (writer) => {
    const local = cleanup.use(await openLocalHost(options.backend));
    const pare = remoteClient(options, output) ?? local.pare;
    const progress = cleanup.adopt(output.progress("pruning"), (bar) => bar.stop());
    const source = calibratedModel(model, local.backend, {
      windows,
      signal,
      onReplace: (name, weight) => writer.replace(name, weight),
      progress: (done, total) => progress.note(`calibrating ${done}/${total}`),
    });
    return await pruneLayers(pare.pruneModel(source, query, { signal }), progress);
  });
  report(layers, (performance.now() - started) / 1000, output, options.out);
}

async function pruneLayers(events: AsyncIterable<PruneEvent>, progress: Progress): Promise<LayerEvent[]> {
  const layers: LayerEvent[] = [];
  let total = 0;
  for await (const event of events) {
    if (event.type === "start") {
      total = event.layers;
      progress.step(0, total);
    } else if (event.type === "layer") {
      layers.push(event);
      const { name, done, report } = event;
      progress.step(done, total, `${name} relative error ${formatError(report.relative_error)}`);
    }
  }
  progress.stop();
  return layers;
}

async function readWindows(folder: string, model: Model, options: Options): Promise<Uint32Array[]> {
  const tokenizer = await loadTokenizer(folder, denoFileSystem);
  const tokens = await readTokens(tokenizer, options.calibration, denoFileSystem);
  return calibrationWindows(tokens, {
    windows: options.samples,
    seqlen: windowTokens(model, options.seqlen),
    seed: options.seed,
  });
}

function report(layers: readonly LayerEvent[], seconds: number, output: Output, out: string): void {
  const rows = layers.map(({ name, report: { loss, relative_error, zeros, rows, cols } }) => (
    { name, loss, relative_error, zeros, rows, cols }
  ));
  const entries = rows.reduce((sum, layer) => sum + layer.rows * layer.cols, 0);
  const zeros = rows.reduce((sum, layer) => sum + layer.zeros, 0);
  output.result({ layers: rows, seconds, out }, [
    `pruned ${zeros} of ${entries} weights in ${layers.length} layers, ${formatSeconds(seconds)}`,
    `wrote ${out}`,
  ]);
}
