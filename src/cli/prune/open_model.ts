/** Opens the model of a run of `pare prune` or `pare shrink`, after the check of the files and folders that its options name. */

import { openModelFolder } from "../../model/model.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { requireFile } from "../files/input_file.ts";
import { displayedName, modelFolder, remarkFormat } from "../files/model_folder.ts";
import { requireOtherFolder, requireWritableFolder } from "../files/output_path.ts";
import { requireTexts } from "../files/text_source.ts";
import type { CommonOptions } from "../options/common_options.ts";
import { Output } from "../terminal/output.ts";

/** The options that name files and folders. */
interface InputOptions extends CommonOptions, Pick<RunOptions, "samples"> {
  readonly profile?: string;
  readonly out: string;
  readonly calibration: readonly string[];
  readonly text: readonly string[];
}

/** The model of a run, with its name in reports, and the free bytes on the disk of the output folder. */
export type RunModel = Awaited<ReturnType<typeof openRunModel>>;

/**
 * @param name the model as the user names it
 * @param cleanup closes the model at the end
 * @throws {UsageError} naming the option with the file or folder, or the model
 * @throws {ModelError} if the model cannot be read
 */
export async function openRunModel(
  name: string,
  { out, calibration, text, samples, profile, json = false }: InputOptions,
  signal: AbortSignal,
  cleanup: AsyncDisposableStack,
) {
  if (profile !== undefined) await requireFile("option --profile", profile);
  await requireTexts({ calibration, text }, samples);
  const freeBytes = await requireWritableFolder("--out", out), output = new Output(json);
  const folder = await modelFolder(name, output, signal);
  await requireOtherFolder(out, folder);
  const stored = cleanup.use(await openModelFolder(folder, fs));
  remarkFormat(stored, output);
  return { name: await displayedName(name, folder), stored, freeBytes, output, signal };
}
