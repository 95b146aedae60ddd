/**
 * `pare pack MODEL --out FOLDER` writes a pruned checkpoint in one of the sparse layouts of the
 * compressed-tensors library. These layouts store only the nonzero weights, so the checkpoint becomes
 * smaller.
 */

import { Command, Option } from "commander";
import { PACK_FORMATS, type PackFormat, SPARSE_READERS } from "../checkpoint/packed/format.ts";
import { packCheckpoint } from "../checkpoint/packed/pack_checkpoint.ts";
import { openCheckpoint } from "../checkpoint/checkpoint.ts";
import { formatBytes, formatShare } from "../report/format.ts";
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
import { readRunReport, runReportFiles, withoutFingerprint } from "./files/run_report_files.ts";

/** The options as commander parses them. */
interface PackCommandOptions extends CommonOptions {
  readonly out: string;
  readonly format: PackFormat;
  readonly overwrite?: boolean;
}

/** Returns the command `pare pack`. `signal` stops it. */
export function packCommand(signal: AbortSignal): Command {
  const command = new Command("pack")
    .description(
      "write a smaller copy of a pruned model, with its nonzero weights and a bit mask of their positions",
    )
    .argument("<model>", "a pruned Hugging Face checkpoint folder")
    .requiredOption("--out <folder>", "where to write the packed checkpoint")
    .addOption(
      new Option(
        "--format <format>",
        `bitmask for any pattern of zeros, sparse-24 for weights pruned 2:4; ${SPARSE_READERS}`,
      )
        .choices(PACK_FORMATS)
        .default("bitmask"),
    )
    .option("--overwrite", "replace a checkpoint in the output folder");
  addExample(command, "pack pruned --out packed --format sparse-24");
  return addCommonOptions(command).action((model: string, options: PackCommandOptions) =>
    pack(model, options, signal)
  );
}

async function pack(folder: string, options: PackCommandOptions, signal: AbortSignal): Promise<void> {
  const { out, format, overwrite } = options;
  await requireFolder("model", folder);
  await requireWritableFolder("--out", out);
  await requireOtherFolder(out, folder);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(await lockOutput(out));
  await requireEmptyFolder(out, overwrite);
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const run = withoutFingerprint(await readRunReport(checkpoint));
  const output = new Output(options.json ?? false);
  const progress = cleanup.adopt(output.progress("packing"), (bar) => bar.stop());
  const { packed, bytes } = await packCheckpoint(checkpoint, out, denoFileSystem, {
    format,
    weights: run?.layers.map(({ name }) => name),
    overwrite,
    signal,
    progress: (done, total, name) => progress.step(done, total, name),
    rewriteFiles: ({ bytes }) => runReportFiles(run, format, bytes.written),
  });
  progress.stop();
  output.result({ packed, bytes, out }, [
    `packed ${packed.length} weights: ${formatBytes(bytes.dense)} became ${formatBytes(bytes.written)}, ` +
    `${formatShare(1 - bytes.written / bytes.dense)} smaller`,
    `${SPARSE_READERS}; pare unpack makes it dense again`,
    `wrote ${out}`,
  ]);
}
