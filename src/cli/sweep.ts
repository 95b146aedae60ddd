/**
 * `pare sweep MODEL` measures how the perplexity of a model grows with its sparsity, for several methods,
 * like the figure in the SparseGPT paper. A point of the sweep is one method at one sparsity or pattern. For
 * every point, the dense model is pruned again, in this process and in memory. No checkpoint is written.
 */

import { basename, normalize } from "node:path";
import { Command } from "commander";
import { type Model, openModelFolder } from "../model/model.ts";
import { calibrationLabels, readCalibration } from "../prune/read_calibration.ts";
import { computePerplexity } from "../model/evaluation/perplexity.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addSeqlenOption,
  type BackendFlags,
  type CommonOptions,
  windowTokens,
} from "./options/common_options.ts";
import {
  addRoundingOptions,
  checkMethodSizes,
  layerQuery,
  type RoundingFlags,
} from "./options/layer_options.ts";
import { addRunOptions } from "./options/run_options.ts";
import { checkAllocation } from "./prune/choice_options.ts";
import { UsageError } from "./errors.ts";
import { addExample } from "./options/help.ts";
import { openRunTexts, readEvaluationText, requireTexts } from "./files/text_source.ts";
import { denoFileSystem, nameFile } from "./files/deno_file_system.ts";
import { requireNoInput, requireWritableFile } from "./files/output_path.ts";
import { DEFAULT_SPARSITY } from "../protocol/limits.ts";
import { DEFAULT_MODEL_METHOD } from "../protocol/methods.ts";
import type { RunOptions } from "../protocol/run/options.ts";
import { linearLayers } from "../prune/block_plan.ts";
import { openBackend } from "./open_backend.ts";
import { inputFiles, MODEL_ARGUMENT, modelFolder, remarkFormat } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import { measurePoint } from "./sweep/measure_point.ts";
import { type PointLists, type SweepPoint, sweepPoints } from "./sweep/points.ts";
import { csvHead, csvLine, type Sweep, type SweepResult, sweepTable } from "./sweep/results.ts";
import { writeAtomically } from "../base/files/whole_file.ts";

/** The options as commander parses them. */
interface SweepOptions
  extends
    CommonOptions,
    BackendFlags,
    PointLists,
    RoundingFlags,
    Pick<RunOptions, "samples" | "validation" | "seqlen" | "allocate" | "windows"> {
  readonly calibration: readonly string[];
  readonly text: string;
  readonly csv?: string;
  readonly svg?: string;
}

/** Returns the command `pare sweep`. `signal` stops it. */
export function createSweepCommand(signal: AbortSignal): Command {
  const command = new Command("sweep")
    .description("measure perplexity over sparsities, patterns and methods, without writing a checkpoint")
    .argument("<model>", MODEL_ARGUMENT);
  addCalibrationOption(command)
    .requiredOption(
      "--text <text>",
      "text to measure the perplexity on, in the same formats as the calibration text",
    )
    .option(
      "--sparsities <list>",
      "comma-separated fractions and ranges; 0.1..0.8 has steps of 0.1, and 0.5..0.6:0.02 has steps of 0.02 " +
        `(default: none with --patterns, else the sparsity of pare prune: 0 with --bits, else ${DEFAULT_SPARSITY})`,
    )
    .option("--patterns <list>", "comma-separated n:m patterns, such as 2:4,4:8")
    .option("--methods <list>", "comma-separated methods", DEFAULT_MODEL_METHOD);
  addRunOptions(addSeqlenOption(command, 2), "allocate", "samples", "validation", "windows")
    .option(
      "--csv <file>",
      "write each point to this file as soon as it is measured; an existing file is replaced",
    )
    .option("--svg <file>", "write a chart to this file at the end");
  addRoundingOptions(command);
  addCommonOptions(addBackendOption(command));
  addExample(
    command,
    "sweep ./opt-125m --calibration c4.txt --text wikitext.txt --sparsities 0.1..0.8 --patterns 2:4,4:8 --svg sweep.svg",
  );
  return command.action((model: string, options: SweepOptions) => sweep(model, options, signal));
}

async function sweep(name: string, options: SweepOptions, signal: AbortSignal): Promise<void> {
  const { bits, groupSize, symmetric, order, ranges, scaleDtype, scaleBits } = options;
  const { sparsity = DEFAULT_SPARSITY, ...rounding } = layerQuery({
    ...{ bits, groupSize, symmetric, order, ranges, scaleDtype, scaleBits },
  });
  const points = sweepPoints(options, rounding, sparsity);
  for (const { pattern } of points) checkAllocation(options.allocate, pattern);
  const { samples, windows, csv, svg } = options;
  await requireTexts({ calibration: options.calibration, text: options.text }, samples);
  if (csv !== undefined) await requireWritableFile("--csv", csv);
  if (svg !== undefined) await requireWritableFile("--svg", svg);
  if (csv !== undefined && svg !== undefined && normalize(csv) === normalize(svg)) {
    throw new UsageError(`option --svg ${svg}: would replace the file of --csv; write to another file`);
  }
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  await using cleanup = new AsyncDisposableStack();
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  remarkFormat(opened, output);
  const { model } = opened;
  checkSizes(points, model, options.methods);
  const seqlen = windowTokens(model, options);
  const { calibration: texts, evaluation: [text] } = await openRunTexts(
    { calibration: options.calibration, text: [options.text] },
    output,
    signal,
  );
  const inputs = [...inputFiles(opened), ...[...texts, text].map(({ path }) => path)];
  for (const [option, path] of Object.entries({ csv, svg })) {
    if (path !== undefined) await requireNoInput(`--${option}`, path, inputs);
  }
  const tokenizer = await opened.loadTokenizer();
  const calibration = await readCalibration(
    tokenizer,
    { ...options, calibration: texts, seqlen },
    denoFileSystem,
  );
  const tokens = await readEvaluationText(tokenizer, text, { seqlen, windows }, denoFileSystem);
  const backend = await openBackend(options, cleanup, model);
  const measure = (pruned: Model) => computePerplexity(pruned, backend, tokens, { seqlen, windows, signal });
  const { perplexity: dense, windows: measuredWindows } = await measure(model);
  output.remark(`dense ${dense.toFixed(3)} over ${measuredWindows} windows of ${seqlen}`);
  if (csv !== undefined) await appendToCsv(csv, csvHead(dense), { append: false });
  const measured: SweepResult[] = [];
  for (const [i, point] of points.entries()) {
    const result = await measurePoint(point, {
      model,
      backend,
      calibration,
      output,
      signal,
      measure,
      rounding,
      allocation: options.allocate,
      position: [i, points.length],
    });
    measured.push(result);
    if (csv !== undefined) await appendToCsv(csv, csvLine(result), { append: true });
  }
  const results: Sweep = {
    model: basename(name),
    calibration: calibrationLabels(texts).join(", "),
    samples,
    validation_samples: calibration.validationWindows.length,
    allocate: options.allocate,
    ...rounding,
    text: text.label,
    seqlen,
    windows: measuredWindows,
    dense,
    points: measured,
  };
  if (svg !== undefined) {
    const { sweepChart } = await import("./sweep/chart.ts"); // the drawing library loads slowly and is seldom needed
    await writeAtomically(denoFileSystem, svg, new TextEncoder().encode(sweepChart(results)));
  }
  output.result(results, [sweepTable(results)]);
}

/** Checks before any work that no layer is too large for the method of a point. @throws {UsageError} naming the layer and the limit */
function checkSizes(points: readonly SweepPoint[], { spec }: Model, methods: string): void {
  const layers = linearLayers(spec);
  for (const { method } of points) checkMethodSizes(layers, () => ({ method }), `--methods ${methods}`);
}

async function appendToCsv(path: string, text: string, options: Deno.WriteFileOptions): Promise<void> {
  await nameFile(path, () => Deno.writeTextFile(path, text, options));
}
