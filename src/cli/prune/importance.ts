/** The option `--imatrix` of `pare prune`, which writes the importance matrix of the result for `llama-quantize`. */

import { checkModel } from "../../model/gguf/write_gguf.ts";
import { checkImatrixModel, writeImatrix } from "../../model/gguf/write_imatrix.ts";
import type { ModelFolder } from "../../model/model.ts";
import type { Backend } from "../../device/backend.ts";
import { inputNorms } from "../../prune/input_norms.ts";
import { calibrationLabels, readCalibration } from "../../prune/read_calibration.ts";
import type { RunTexts } from "../../prune/texts/named_texts.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import { inputFiles } from "../files/model_folder.ts";
import { requireNoInput } from "../files/output_path.ts";
import type { Output } from "../terminal/output.ts";
import type { PruneOptions } from "./prune_options.ts";

/** The run whose result gets an importance matrix. */
interface ImportanceRun {
  readonly options: PruneOptions;
  readonly texts: Pick<RunTexts, "calibration">;
  readonly seqlen: number;
  readonly output: Output;
  readonly signal: AbortSignal;
  openDevice(): Promise<Backend>;
}

/**
 * Checks, before any work, that the importance matrix of a model can be written to `path`.
 * @throws {UsageError} if the command reads the file `path`
 * @throws {ModelError} if llama.cpp has no architecture for the model
 */
export async function checkImportance(
  path: string,
  stored: ModelFolder,
  { calibration, evaluation }: RunTexts,
  { profile }: Pick<PruneOptions, "profile">,
): Promise<void> {
  const texts = [...calibration, ...evaluation].map(({ path }) => path);
  await requireNoInput("--imatrix", path, [...inputFiles(stored), ...texts, ...profile ? [profile] : []]);
  await checkModel(stored, denoFileSystem);
  checkImatrixModel(stored);
}

/**
 * Writes the importance matrix of a pruned model, from one forward pass of the calibration windows that were not held out.
 * @throws {ModelError} if llama.cpp has no architecture for the model
 */
export async function writeImportance(
  { options, texts: { calibration }, seqlen, openDevice, output, signal }: ImportanceRun,
  pruned: Pick<ModelFolder, "checkpoint" | "model" | "loadTokenizer">,
): Promise<void> {
  const path = options.imatrix!, backend = await openDevice(), { model } = pruned;
  const texts = { ...options, calibration, seqlen };
  const { windows } = await readCalibration(await pruned.loadTokenizer(), texts, denoFileSystem);
  await writeImatrix(pruned, path, denoFileSystem, {
    squares: inputNorms(model, backend, { windows, lastBlock: model.spec.blockCount - 1, signal }),
    texts: calibrationLabels(calibration),
    windows: windows.length,
    windowTokens: seqlen,
  });
  output.remark(`wrote ${path}`);
}
