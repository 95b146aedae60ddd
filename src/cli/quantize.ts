/**
 * `pare quantize MODEL` rounds a model for llama.cpp and writes one GGUF file. It is a run of `pare prune --for gguf:TYPE` with defaults for
 * all options, in a folder beside the file. At the end, the file and the report are moved out of the folder, and the folder is removed.
 */

import { Command, Option } from "commander";
import { basename, dirname, resolve } from "node:path";
import { repositoryOf } from "../model/hub/reference.ts";
import { countParameters, countWeightFileBytes } from "../model/checkpoint/weight_files.ts";
import { REPORT_PAGE_FILE, RUN_REPORT_FILE } from "../prune/report/file_names.ts";
import { bytesText, countText, divergenceText, secondsText } from "../prune/report/format.ts";
import type { RunReport } from "../prune/report/run_report.ts";
import { OWN_TEXT } from "../prune/texts/own_text.ts";
import { UsageError } from "./errors.ts";
import { FILE_FORMATS } from "./export/formats.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { hubReference, MODEL_ARGUMENT } from "./files/model_folder.ts";
import { exists, requireWritableFile } from "./files/output_path.ts";
import { allowOnly } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { applyNames } from "./prune/named_options.ts";
import { type OpenRun, openRun } from "./prune/open_run.ts";
import { formatPerplexity, qualityHints } from "./prune/print_result.ts";
import { addPruneOptions, type PruneOptions } from "./prune/prune_options.ts";
import { fileTarget } from "./prune/runtime_format.ts";
import { finishedReport, runOrPlan } from "./prune/start_run.ts";

const DEFAULT_FORMAT = "gguf:q4_0";

/** The options as commander parses them. */
interface QuantizeOptions extends Omit<PruneOptions, "out"> {
  readonly for: string;
  readonly out?: string;
}

/** Returns the command `pare quantize`. `signal` stops it. */
export function createQuantizeCommand(signal: AbortSignal): Command {
  const command = new Command("quantize")
    .description("round a model to 4 bits or other types of llama.cpp, and write one GGUF file")
    .argument("<model>", MODEL_ARGUMENT)
    .option("--out <file>", "the file to write (default: NAME-TYPE.gguf in the current folder)");
  const format = new Option(
    "--for <format>",
    "the type of the layers in the file; others may be smaller or nearer to the model",
  );
  addPruneOptions(command, allowOnly(format, FILE_FORMATS).default(DEFAULT_FORMAT));
  addExample(
    command,
    "quantize Qwen/Qwen3-0.6B",
    "quantize ./my-model --for gguf:q3_k --preset best --calibration my-text.txt",
  );
  return command.action((model: string, options: QuantizeOptions) =>
    quantize(model, applyNames(options, command), signal)
  );
}

async function quantize(model: string, options: QuantizeOptions, signal: AbortSignal): Promise<void> {
  const name = basename(repositoryOf(await hubReference(model) ?? "") ?? resolve(model));
  const { out: file = `${name}-${options.for.split(":")[1].toUpperCase()}.gguf` } = options;
  await requireWritableFile("--out", file);
  if (!options.overwrite && !options.plan && await exists(file)) {
    throw new UsageError(
      `${file}: exists already; add --overwrite to replace it, or name another file by --out`,
    );
  }
  const text = options.text.length === 0 ? [OWN_TEXT] : options.text, out = `${file}.run`;
  await using cleanup = new AsyncDisposableStack();
  const run = await openRun(model, { ...options, text, out }, signal, cleanup), { output } = run;
  for (const line of startLines(run, file)) output.remark(line);
  const report = await finishedReport(run) ?? await runOrPlan(run, 0); // performance.now() counts from the start of the process
  if (!report) return;
  const page = `${file}.html`;
  // The model is moved first: a folder without it, which a killed command leaves, has nothing of value.
  await fs.rename(`${out}/${fileTarget(options.for)!.path}`, file);
  await fs.rename(`${out}/${REPORT_PAGE_FILE}`, page);
  await fs.rename(`${out}/${RUN_REPORT_FILE}`, `${file}.json`);
  await fs.removeFolder(out);
  await fs.syncFolder(dirname(file));
  for (const line of qualityHints(report)) output.remark(line);
  const { bytes, perplexity, seconds, calibration } = report;
  output.result({ out: file, report: page, bytes, perplexity, seconds, calibration }, [
    resultText(report, file),
    `report: ${page}`,
    fileTarget(options.for)!.howToRun(file),
  ]);
}

/** Says what the command has found, and what it will make. */
function startLines(
  { name, stored: { checkpoint }, options, texts, seqlen }: OpenRun,
  file: string,
): string[] {
  const { config, shards } = checkpoint, labels = texts.calibration.map(({ label }) => label).join(", ");
  return [
    `found ${name}: ${config.model_type} with ${countText(countParameters(shards))} parameters, ${
      bytesText(countWeightFileBytes(shards))
    }`,
    `making ${file}, calibrated on ${options.samples} windows of ${seqlen} tokens of ${labels}; ` +
    "the progress shows the time left, and --plan measures the time beforehand",
  ];
}

/** Describes the result in sentences. */
function resultText({ bytes, perplexity, seconds }: RunReport, file: string): string {
  const size = `${bytesText(bytes.written)} instead of ${bytesText(bytes.dense)}`;
  const measured = perplexity.map(({ text, dense, pruned, divergence }) =>
    ` On the text ${text}, its perplexity is ${formatPerplexity(pruned)}, and the dense model's is ${
      formatPerplexity(dense)
    } (lower is better). Its predictions differ from the dense model's by a KL divergence of ${
      typeof divergence === "number" ? divergenceText(divergence) : "no finite size"
    } (0 means that they are equal).`
  );
  return `${file} is ready after ${secondsText(seconds.total)}. It has ${size}.${measured.join("")}`;
}
