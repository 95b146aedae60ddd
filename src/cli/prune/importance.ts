/** The option `--imatrix` of `pare prune`, which writes the importance matrix of the result for `llama-quantize`. */

import { writeImatrix } from "../../model/gguf/write_imatrix.ts";
import type { ModelFolder } from "../../model/model.ts";
import { inputNorms } from "../../prune/input_norms.ts";
import { calibrationLabels, readCalibration } from "../../prune/read_calibration.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { OpenRun } from "./open_run.ts";

/**
 * Writes the importance matrix of a pruned model, from one forward pass of the calibration windows that were not held out.
 * @throws {ModelError} if llama.cpp has no architecture for the model
 */
export async function writeImportance(
  { options, texts: { calibration }, seqlen, openDevice, output, signal }: OpenRun,
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
