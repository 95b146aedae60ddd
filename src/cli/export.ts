/** `pare export MODEL --format FORMAT --out PATH` writes a model in a format of other programs. The codes of a quantised model stay as they are. */

import { basename } from "node:path";
import { Command, Option } from "commander";
import { openModelFolder } from "../model/model.ts";
import { addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { EXPORT_FORMATS, type FormatName, FORMATS } from "./export/formats.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { MODEL_ARGUMENT, modelFolder } from "./files/model_folder.ts";
import { requireWritableFile } from "./files/output_path.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface ExportOptions extends CommonOptions {
  readonly format: FormatName;
  readonly out: string;
  readonly round?: "nearest";
}

/** Returns the command `pare export`. `signal` stops it. */
export function createExportCommand(signal: AbortSignal): Command {
  const command = new Command("export")
    .description("write a model as a GGUF file, which llama.cpp loads, with the codes that the model has")
    .argument("<model>", MODEL_ARGUMENT)
    .addOption(
      new Option("--format <format>", "the format of the file, and the type of its linear layers").choices(
        EXPORT_FORMATS,
      )
        .makeOptionMandatory(),
    )
    .requiredOption("--out <file>", "where to write the file")
    .addOption(
      new Option(
        "--round <rule>",
        "round layers whose weights do not fit the type, each weight to the nearest value; otherwise they are an error",
      ).choices(["nearest"]),
    );
  addExample(command, "export pruned --format gguf:q4_0 --out model.gguf");
  return addCommonOptions(command).action((model: string, options: ExportOptions) =>
    exportModel(model, options, signal)
  );
}

async function exportModel(name: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const { format, out, round } = options;
  await requireWritableFile("--out", out);
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem));
  const progress = cleanup.adopt(output.progress("exporting"), (bar) => bar.stop());
  const { facts, lines } = await FORMATS[format].write(opened, out, {
    round: round === "nearest",
    name: folder === name ? basename(await denoFileSystem.realPath(folder)) : name,
    signal,
    progress: (done, total, tensor) => progress.step(done, total, tensor),
  });
  progress.stop();
  output.result({ ...facts, format, out }, [...lines, `wrote ${out}`]);
}
