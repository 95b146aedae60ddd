/** The option `--imatrix` of `pare prune`, which writes the importance matrix of the result for `llama-quantize`. */

import type { Backend } from "../../device/backend.ts";
import { writeImatrix } from "../../model/gguf/write_imatrix.ts";
import { openModelFolder } from "../../model/model.ts";
import { inputNorms } from "../../prune/input_norms.ts";
import { calibrationLabels, type CalibrationTexts, readCalibration } from "../../prune/read_calibration.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { Output } from "../terminal/output.ts";

export interface ImportanceServices {
  /** Runs the forward pass. */
  readonly backend: Backend;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/**
 * Writes the importance matrix of the model in the folder `out` to `path`, from one forward pass of the calibration
 * windows that were not held out.
 * @throws {ModelError} if llama.cpp has no architecture for the model
 */
export async function writeImportance(
  path: string,
  out: string,
  texts: CalibrationTexts,
  { backend, output, signal }: ImportanceServices,
): Promise<void> {
  await using opened = await openModelFolder(out, denoFileSystem);
  const { windows } = await readCalibration(await opened.loadTokenizer(), texts, denoFileSystem);
  const { model } = opened, lastBlock = model.spec.blockCount - 1;
  await writeImatrix(opened, path, denoFileSystem, {
    squares: inputNorms(model, backend, { windows, lastBlock, signal }),
    texts: calibrationLabels(texts.calibration),
    windows: windows.length,
    windowTokens: texts.seqlen,
  });
  output.remark(`wrote ${path}`);
}
