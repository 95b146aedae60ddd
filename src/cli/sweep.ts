/**
 * `pare sweep MODEL`: perplexity over sparsity for several methods, as the published figure shows it. Every point prunes the dense model
 * anew, in this process and in memory: nothing is written but the figures.
 */

import { basename } from "node:path";
import { Command } from "commander";
import { calibrationWindows } from "../calibration/windows.ts";
import { openCheckpoint } from "../checkpoint/checkpoint.ts";
import { type Model, openModel } from "../models/model.ts";
import { loadTokenizer, readTokens } from "../models/tokenizer/tokenizer.ts";
import { computePerplexity, type Perplexity } from "../evaluation/perplexity.ts";
import type { BackendChoice } from "../host/backends.ts";
import { addBackendOption, addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { formatSeconds } from "../report/format.ts";
import { type LocalHost, openLocalHost } from "./local_host.ts";
import { MODEL_ARGUMENT, modelFolder } from "./files/model_folder.ts";
import { integer } from "./options/numbers.ts";
import { Output } from "./terminal/output.ts";
import { layerQueryOf, type PointLists, type SweepPoint, sweepPoints } from "./sweep/points.ts";
import { pruneInMemory } from "../prune/prune_in_memory.ts";
import { csvHead, csvLine, settingName, type Sweep, type SweepResult, sweepTable } from "./sweep/results.ts";
import { addSeqlenOption, windowTokens } from "./options/seqlen_option.ts";
import { writeAtomically } from "../files/write_atomically.ts";

/** The published code's number of calibration windows. */
const DEFAULT_SAMPLES = 128;

interface Options extends CommonOptions, PointLists {
  readonly calibration: string;
  readonly text: string;
  readonly samples: number;
  readonly windows?: number;
  readonly seqlen?: number;
  readonly csv?: string;
  readonly svg?: string;
  readonly backend: BackendChoice;
}

/** The command, stopped by `signal`. */
export function sweepCommand(signal: AbortSignal): Command {
  const command = new Command("sweep")
    .description("measure perplexity over sparsities, patterns and methods, writing no checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--calibration <file>", "text to calibrate on: .txt, or .jsonl with a document a line")
    .requiredOption("--text <file>", "text to measure on, likewise")
    .option(
      "--sparsities <list>",
      "fractions with commas between; 0.1..0.8 is a range in steps of 0.1, 0.5..0.6:0.02 of 0.02",
    )
    .option("--patterns <list>", "n:m patterns with commas between, such as 2:4,4:8")
    .option("--methods <list>", "methods with commas between", "sparsegpt,magnitude")
    .option("--samples <n>", "calibration windows", integer(1), DEFAULT_SAMPLES)
    .option("--windows <n>", "only the first n windows of the text (default: all that are whole)", integer(1))
    .option("--csv <file>", "append each point to this file as it is measured; what it held is replaced")
    .option("--svg <file>", "draw the figure at the end");
  addCommonOptions(addBackendOption(addSeqlenOption(command, 2)));
  return command.action((model: string, options: Options) => sweep(model, options, signal));
}

/** What every point shares. */
interface Setting {
  readonly model: Model;
  readonly local: LocalHost;
  readonly calibration: readonly Uint32Array[];
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Which point of how many. */
  readonly place: readonly [index: number, count: number];
  measure(model: Model): Promise<Perplexity>;
}

async function sweep(name: string, options: Options, signal: AbortSignal): Promise<void> {
  const points = sweepPoints(options);
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const model = openModel(checkpoint);
  const seqlen = windowTokens(model, options.seqlen);
  const tokenizer = await loadTokenizer(folder, denoFileSystem);
  const { samples, csv, svg } = options;
  const calibration = calibrationWindows(await readTokens(tokenizer, options.calibration, denoFileSystem), {
    windows: samples,
    seqlen,
  });
  const tokens = await readTokens(tokenizer, options.text, denoFileSystem);
  const local = cleanup.use(await openLocalHost(options.backend));
  const measure = (pruned: Model) =>
    computePerplexity(pruned, local.backend, tokens, { seqlen, windows: options.windows, signal });
  const { perplexity: dense, windows } = await measure(model);
  output.remark(`dense ${dense.toFixed(3)} over ${windows} windows of ${seqlen}`);
  if (csv !== undefined) await Deno.writeTextFile(csv, csvHead(dense));
  const results: SweepResult[] = [];
  for (const [i, point] of points.entries()) {
    const result = await measurePoint(point, {
      model,
      local,
      calibration,
      output,
      signal,
      measure,
      place: [i, points.length],
    });
    results.push(result);
    if (csv !== undefined) await Deno.writeTextFile(csv, csvLine(result), { append: true });
  }
  const whole: Sweep = {
    model: basename(name),
    calibration: basename(options.calibration),
    samples,
    text: basename(options.text),
    seqlen,
    windows,
    dense,
    points: results,
  };
  if (svg !== undefined) {
    const { sweepChart } = await import("./sweep/chart.ts"); // drawing is slow to load, and seldom asked for
    await writeAtomically(denoFileSystem, svg, new TextEncoder().encode(sweepChart(whole)));
  }
  output.result(whole, [sweepTable(whole)]);
}

/** Prunes the dense model as `point` says and measures it; tells of it at once. */
async function measurePoint(
  point: SweepPoint,
  { model, local, calibration, output, signal, measure, place: [index, count] }: Setting,
): Promise<SweepResult> {
  const started = performance.now();
  const name = `${point.method} ${settingName(point)}`;
  const bar = output.progress("sweeping");
  bar.step(index, count, name);
  const progress = (done: number, total: number) => bar.note(`${name} ${done}/${total}`);
  try {
    const { backend, pare } = local;
    const options = { pruner: pare, backend, windows: calibration, signal, progress };
    const pruned = await pruneInMemory(model, layerQueryOf(point), options);
    const { perplexity } = await measure(pruned);
    const seconds = (performance.now() - started) / 1000;
    bar.stop();
    output.remark(`${name} ${perplexity.toFixed(3)}, ${formatSeconds(seconds)}`);
    return { ...point, perplexity, seconds };
  } finally {
    bar.stop();
  }
}
