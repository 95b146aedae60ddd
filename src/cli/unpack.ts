/** `pare unpack MODEL --out FOLDER`: a packed checkpoint dense again, bit for bit what was packed. */

import { Command } from "commander";
import { unpackCheckpoint } from "../checkpoint/packed/unpack_checkpoint.ts";
import { openCheckpoint } from "../checkpoint/checkpoint.ts";
import { formatBytes } from "../report/format.ts";
import { addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { Output } from "./terminal/output.ts";
import { readRunReport, runReportFiles } from "./files/run_report_files.ts";

interface Options extends CommonOptions {
  readonly out: string;
  readonly overwrite?: boolean;
}

/** The command, stopped by `signal`. */
export function unpackCommand(signal: AbortSignal): Command {
  const command = new Command("unpack")
    .description("write a dense copy of a packed model, as prune, eval and other programs read it")
    .argument("<model>", "a folder written by pack, or by compressed-tensors in one of its sparse formats")
    .requiredOption("--out <folder>", "where to write the dense checkpoint")
    .option("--overwrite", "replace a checkpoint already there");
  return addCommonOptions(command).action((model: string, options: Options) =>
    unpack(model, options, signal)
  );
}

async function unpack(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const { out, overwrite } = options;
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const run = await readRunReport(checkpoint);
  const output = new Output(options.json ?? false);
  const progress = cleanup.adopt(output.progress("unpacking"), (bar) => bar.stop());
  const { unpacked, bytes } = await unpackCheckpoint(checkpoint, out, denoFileSystem, {
    overwrite,
    signal,
    progress: (done, total, name) => progress.step(done, total, name),
    rewriteFiles: ({ bytes }) => runReportFiles(run, "dense", bytes.written),
  });
  progress.stop();
  output.result({ unpacked, bytes, out }, [
    `unpacked ${unpacked.length} weights: ${formatBytes(bytes.packed)} became ${formatBytes(bytes.written)}`,
    `wrote ${out}`,
  ]);
}
