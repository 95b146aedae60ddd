/**
 * `pare sweep MODEL` measures how the perplexity of a model grows with its sparsity, for several methods,
 * like the figure in the SparseGPT paper. A point of the sweep is one method at one sparsity or pattern. For
 * every point, the dense model is pruned anew, in this process and in memory. No checkpoint is written.
 */

import { basename } from "node:path";
import { Command } from "commander";
import { type Model, openModelFolder } from "../models/model.ts";
import { readTokens } from "../models/tokenizer/tokenizer.ts";
import { readCalibration } from "../prune/read_calibration.ts";
import { computePerplexity, type Perplexity } from "../evaluation/perplexity.ts";
import type { BackendChoice } from "../host/backends.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addSamplesOption,
  addSeqlenOption,
  type CommonOptions,
  integer,
  windowTokens,
} from "./options/common_options.ts";
import { addRoundingOptions, layerQuery, type RoundingFlags } from "./options/layer_options.ts";
import { allocateOption, checkAllocation } from "./options/allocate_option.ts";
import type { AllocationName } from "../prune/allocation/allocation.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { formatSeconds } from "../report/format.ts";
import { type LocalHost, openLocalHost } from "./local_host.ts";
import { MODEL_ARGUMENT, modelFolder } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import { layerQueryOf, type PointLists, type SweepPoint, sweepPoints } from "./sweep/points.ts";
import { pruneInMemory } from "../prune/prune_in_memory.ts";
import { csvHead, csvLine, settingName, type Sweep, type SweepResult, sweepTable } from "./sweep/results.ts";
import { writeAtomically } from "../files/whole_file.ts";

/** The options as commander parses them. */
interface SweepOptions extends CommonOptions, PointLists, RoundingFlags {
  readonly calibration: string;
  readonly text: string;
  readonly samples: number;
  readonly windows?: number;
  readonly seqlen?: number;
  readonly csv?: string;
  readonly svg?: string;
  readonly allocate: AllocationName;
  readonly backend: BackendChoice;
}

/** Returns the command `pare sweep`. `signal` stops it. */
export function sweepCommand(signal: AbortSignal): Command {
  const command = new Command("sweep")
    .description("measure perplexity over sparsities, patterns and methods, without writing a checkpoint")
    .argument("<model>", MODEL_ARGUMENT);
  addCalibrationOption(command)
    .requiredOption(
      "--text <file>",
      "text to measure the perplexity on, in the same formats as the calibration text",
    )
    .option(
      "--sparsities <list>",
      "comma-separated fractions and ranges; 0.1..0.8 has steps of 0.1, and 0.5..0.6:0.02 has steps of 0.02",
    )
    .option("--patterns <list>", "comma-separated n:m patterns, such as 2:4,4:8")
    .option("--methods <list>", "comma-separated methods", "sparsegpt,magnitude")
    .addOption(allocateOption());
  addSamplesOption(command)
    .option(
      "--windows <n>",
      "measure only the first n windows of the text (default: all complete windows)",
      integer(1),
    )
    .option(
      "--csv <file>",
      "write each point to this file as soon as it is measured; an existing file is replaced",
    )
    .option("--svg <file>", "write a chart to this file at the end");
  addRoundingOptions(command);
  addCommonOptions(addBackendOption(addSeqlenOption(command, 2)));
  return command.action((model: string, options: SweepOptions) => sweep(model, options, signal));
}

/** The parts that all points share, and the position of one point among them. */
interface SweepSetting {
  readonly model: Model;
  readonly local: LocalHost;
  /** The calibration windows, which are pieces of the calibration text, as token ids. */
  readonly calibration: readonly Uint32Array[];
  readonly output: Output;
  readonly signal: AbortSignal;
  /** The parameters that say how weights are rounded. */
  readonly rounding: LayerQuery;
  readonly allocation: AllocationName;
  /** The index of the point, and the number of points. */
  readonly position: readonly [index: number, count: number];
  /** Measures the perplexity of a pruned model. */
  measure(model: Model): Promise<Perplexity>;
}

async function sweep(name: string, options: SweepOptions, signal: AbortSignal): Promise<void> {
  const { bits, groupSize, symmetric, order } = options;
  const rounding = layerQuery({ bits, groupSize, symmetric, order });
  const points = sweepPoints(options, rounding);
  for (const { pattern } of points) checkAllocation(options.allocate, pattern);
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  await using cleanup = new AsyncDisposableStack();
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  const { model } = opened;
  const seqlen = windowTokens(model, options.seqlen);
  const tokenizer = await opened.loadTokenizer();
  const { samples, csv, svg } = options;
  const calibration = await readCalibration(tokenizer, { ...options, seqlen }, denoFileSystem);
  const tokens = await readTokens(tokenizer, options.text, denoFileSystem);
  const local = cleanup.use(await openLocalHost(options.backend));
  const measure = (pruned: Model) =>
    computePerplexity(pruned, local.backend, tokens, { seqlen, windows: options.windows, signal });
  const { perplexity: dense, windows } = await measure(model);
  output.remark(`dense ${dense.toFixed(3)} over ${windows} windows of ${seqlen}`);
  if (csv !== undefined) await Deno.writeTextFile(csv, csvHead(dense));
  const measured: SweepResult[] = [];
  for (const [i, point] of points.entries()) {
    const result = await measurePoint(point, {
      model,
      local,
      calibration,
      output,
      signal,
      measure,
      rounding,
      allocation: options.allocate,
      position: [i, points.length],
    });
    measured.push(result);
    if (csv !== undefined) await Deno.writeTextFile(csv, csvLine(result), { append: true });
  }
  const results: Sweep = {
    model: basename(name),
    calibration: basename(options.calibration),
    samples,
    allocate: options.allocate,
    ...rounding,
    text: basename(options.text),
    seqlen,
    windows,
    dense,
    points: measured,
  };
  if (svg !== undefined) {
    const { sweepChart } = await import("./sweep/chart.ts"); // the drawing library loads slowly and is seldom needed
    await writeAtomically(denoFileSystem, svg, new TextEncoder().encode(sweepChart(results)));
  }
  output.result(results, [sweepTable(results)]);
}

/** Prunes the dense model with the parameters of `point`, and measures and reports its perplexity. */
async function measurePoint(
  point: SweepPoint,
  { model, local, calibration, output, signal, rounding, allocation, measure, position: [index, count] }:
    SweepSetting,
): Promise<SweepResult> {
  const started = performance.now();
  const name = `${point.method} ${settingName(point)}`;
  const bar = output.progress("sweeping");
  bar.step(index, count, name);
  const progress = (done: number, total: number) => bar.note(`${name} ${done}/${total}`);
  try {
    const { backend, pare } = local;
    const options = { pruner: pare, backend, windows: calibration, allocation, signal, progress };
    const pruned = await pruneInMemory(model, layerQueryOf(point, rounding), options);
    const { perplexity } = await measure(pruned);
    const seconds = (performance.now() - started) / 1000;
    bar.stop();
    output.remark(`${name} ${perplexity.toFixed(3)}, ${formatSeconds(seconds)}`);
    return { ...point, perplexity, seconds };
  } finally {
    bar.stop();
  }
}
