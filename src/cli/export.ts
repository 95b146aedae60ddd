/** `pare export MODEL --format FORMAT --out PATH` writes a model in a format of other programs, and keeps its codes. */

import { Command, Option } from "commander";
import { hasCodes } from "../model/formats/checkpoint/dense_checkpoint.ts";
import { openModelFolder } from "../model/model.ts";
import { addCommonOptions, allowOnly, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { EXPORT_FORMATS, type FormatName, FORMATS } from "./export/formats.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import {
  displayedName,
  inputFiles,
  MODEL_ARGUMENT,
  modelFolder,
  remarkFormat,
} from "./files/model_folder.ts";
import {
  requireEmptyFolder,
  requireNoInput,
  requireOtherFolder,
  requireWritableFile,
  requireWritableFolder,
} from "./files/output_path.ts";
import { readAnyReport } from "./files/run_report_files.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface ExportOptions extends CommonOptions {
  readonly format: FormatName;
  readonly out: string;
  readonly round?: "nearest";
  readonly overwrite?: boolean;
}

/** Returns the command `pare export`. `signal` stops it. */
export function createExportCommand(signal: AbortSignal): Command {
  const command = new Command("export")
    .description("write a model in a format of another program, with the codes that the model has")
    .argument("<model>", MODEL_ARGUMENT)
    .addOption(
      allowOnly(
        new Option(
          "--format <format>",
          `gguf:TYPE, a file for llama.cpp whose linear layers have this type; or a folder, ${
            EXPORT_FORMATS.filter((name) => FORMATS[name].output === "folder").join(" or ")
          }`,
        ),
        EXPORT_FORMATS,
      ).makeOptionMandatory(),
    )
    .requiredOption("--out <path>", "where to write the file or the folder")
    .addOption(
      new Option(
        "--round <rule>",
        "round layers whose weights do not fit the format, each weight to the nearest value; otherwise they are an error",
      ).choices(["nearest"]),
    )
    .option("--overwrite", "replace a checkpoint in the output folder");
  addExample(
    command,
    "export pruned --format gguf:q4_0 --out model.gguf",
    "export pruned --format gptq --out pruned-gptq",
  );
  return addCommonOptions(command).action((model: string, options: ExportOptions) =>
    exportModel(model, options, signal)
  );
}

async function exportModel(name: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const { format, out, round, overwrite } = options, { output: kind, write } = FORMATS[format];
  if (kind === "file") await requireWritableFile("--out", out);
  else await requireWritableFolder("--out", out);
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  if (kind === "folder") {
    await requireOtherFolder(out, folder);
    await requireEmptyFolder(out, overwrite);
  }
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  if (kind === "file") await requireNoInput("--out", out, inputFiles(opened));
  if (!hasCodes(opened.model.weights)) remarkFormat(opened, output); // the codes are taken over
  const progress = cleanup.adopt(output.progress("exporting"), (bar) => bar.stop());
  const { facts, lines } = await write(opened, out, {
    round: round === "nearest",
    name: (await readAnyReport(opened.checkpoint))?.model.name ?? await displayedName(name, folder),
    signal,
    progress: (done, total, tensor) => progress.step(done, total, tensor),
  });
  progress.stop();
  output.result({ ...facts, format, out }, [...lines, `wrote ${out}`]);
}
