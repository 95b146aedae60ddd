/** `pare unpack MODEL --out FOLDER` writes a dense copy of a quantised checkpoint. Its weights have the values that the codes stand for. */

import { Command } from "commander";
import { unpackCheckpoint } from "../model/formats/checkpoint/unpack_checkpoint.ts";
import { openCheckpoint } from "../model/checkpoint/checkpoint.ts";
import { bytesText } from "../prune/report/format.ts";
import { addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { requireFolder } from "./files/input_file.ts";
import {
  lockOutput,
  requireEmptyFolder,
  requireOtherFolder,
  requireWritableFolder,
} from "./files/output_path.ts";
import { Output } from "./terminal/output.ts";
import {
  readModelCard,
  readRunReport,
  runReportFiles,
  withoutFingerprint,
} from "./files/run_report_files.ts";
import { baseOfCard } from "../prune/report/base_card.ts";

/** The options as commander parses them. */
interface UnpackCommandOptions extends CommonOptions {
  readonly out: string;
  readonly overwrite?: boolean;
}

/** Returns the command `pare unpack`. `signal` stops it. */
export function createUnpackCommand(signal: AbortSignal): Command {
  const command = new Command("unpack")
    .description("write a dense copy of a quantised model, which other programs can read")
    .argument(
      "<model>",
      "a folder with quantised weights, in a format that prune reads",
    )
    .requiredOption("--out <folder>", "where to write the dense checkpoint")
    .option("--overwrite", "replace a checkpoint in the output folder");
  addExample(command, "unpack packed --out dense");
  return addCommonOptions(command).action((model: string, options: UnpackCommandOptions) =>
    unpack(model, options, signal)
  );
}

async function unpack(folder: string, options: UnpackCommandOptions, signal: AbortSignal): Promise<void> {
  const { out, overwrite } = options;
  await requireFolder("model", folder);
  await requireWritableFolder("--out", out);
  await requireOtherFolder(out, folder);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(await lockOutput(out));
  await requireEmptyFolder(out, overwrite);
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const run = withoutFingerprint(await readRunReport(checkpoint));
  const baseCard = baseOfCard(await readModelCard(checkpoint));
  const output = new Output(options.json ?? false);
  const progress = cleanup.adopt(output.progress("unpacking"), (bar) => bar.stop());
  const { unpacked, bytes } = await unpackCheckpoint(checkpoint, out, denoFileSystem, {
    overwrite,
    signal,
    progress: (done, total, name) => progress.step(done, total, name),
    rewriteFiles: ({ bytes }) => runReportFiles(run, { format: "dense", written: bytes.written }, baseCard),
  });
  progress.stop();
  output.result({ unpacked, bytes, out }, [
    `unpacked ${unpacked.length} weights: ${bytesText(bytes.quantized)} became ${bytesText(bytes.written)}`,
    `wrote ${out}`,
  ]);
}
