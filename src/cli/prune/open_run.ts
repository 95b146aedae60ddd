/** Checks the options of `pare prune`, and opens what the run reads. */

import type { Backend } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { checkModel } from "../../model/gguf/write_gguf.ts";
import { checkImatrixModel } from "../../model/gguf/write_imatrix.ts";
import { openModelFolder } from "../../model/model.ts";
import { commandFingerprint } from "../../prune/run/fingerprint.ts";
import type { ShrinkReport } from "../../prune/shrink/shrink_report.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { requireFile } from "../files/input_file.ts";
import { displayedName, inputFiles, modelFolder, remarkFormat } from "../files/model_folder.ts";
import {
  requireNoInput,
  requireOtherFolder,
  requireWritableFile,
  requireWritableFolder,
} from "../files/output_path.ts";
import { openRunTexts, requireTexts } from "../files/text_source.ts";
import { openBackend } from "../open_backend.ts";
import { windowTokens } from "../options/common_options.ts";
import { layerQuery } from "../options/layer_options.ts";
import { serverUrls } from "../options/server_options.ts";
import { requireNoSmallerModel } from "../shrink/second_run.ts";
import { Output } from "../terminal/output.ts";
import { checkConflicts } from "./check_options.ts";
import type { PruneOptions } from "./prune_options.ts";
import { resolveLayers } from "./resolve_layers.ts";
import { modelForRuntime } from "./runtime_format.ts";

/** The run of `pare shrink` that has made the pruned model. */
export interface FirstRun {
  readonly report: ShrinkReport;
  /** The larger model. */
  readonly dense: Checkpoint;
}

/** A run whose options are checked, and whose model and texts are open. */
export type OpenRun = Awaited<ReturnType<typeof openRun>>;

/**
 * @param model the model as the user names it
 * @param cleanup closes the model and the device at the end
 * @param first the first run of a command that shrinks the model before
 */
export async function openRun(
  model: string,
  options: PruneOptions,
  signal: AbortSignal,
  cleanup: AsyncDisposableStack,
  first?: FirstRun,
) {
  const { out, calibration, text, profile, imatrix } = options;
  const written = layerQuery(options), servers = serverUrls(options);
  checkConflicts(options, servers);
  if (profile !== undefined) await requireFile("option --profile", profile);
  await requireTexts({ calibration, text }, options.samples);
  const freeBytes = await requireWritableFolder("--out", out);
  if (!first) await requireNoSmallerModel(out);
  if (imatrix !== undefined) await requireWritableFile("--imatrix", imatrix);
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(model, output, signal);
  const stored = cleanup.use(await openModelFolder(folder, fs));
  remarkFormat(stored, output);
  const opened = modelForRuntime(options.for, stored);
  await requireOtherFolder(out, folder);
  const layers = await resolveLayers(written, options, stored);
  const seqlen = windowTokens(opened.model, options.seqlen);
  const texts = await openRunTexts(options, output, signal);
  if (imatrix !== undefined) {
    const read = [...texts.calibration, ...texts.evaluation].map(({ path }) => path);
    const inputs = [...inputFiles(stored), ...read, ...profile ? [profile] : []];
    await requireNoInput("--imatrix", imatrix, inputs);
    await checkModel(stored, fs);
    checkImatrixModel(stored);
  }
  const sources = { checkpoint: opened.checkpoint, query: layers.query, options, texts, seqlen, fs };
  let backend: Promise<Backend> | undefined;
  return {
    ...layers,
    ...{ options, stored, opened, servers, freeBytes, texts, seqlen, output, signal, cleanup, first },
    name: first?.report.model.name ?? await displayedName(model, folder),
    fingerprint: await commandFingerprint(sources),
    /** Opens the device at the first call. @param recorded the backend of an unfinished run */
    openDevice: (recorded?: string) =>
      backend ??= openBackend({ ...options, recorded }, cleanup, stored.model),
  };
}
