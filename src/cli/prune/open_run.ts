/** Checks the options of `pare prune`, and opens the model and the texts of the run. */

import { commandFingerprint } from "../../prune/run/fingerprint.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { requireWritableFile } from "../files/output_path.ts";
import { openRunTexts } from "../files/text_source.ts";
import { openBackend } from "../open_backend.ts";
import { windowTokens } from "../options/common_options.ts";
import { layerQuery } from "../options/layer_options.ts";
import { serverUrls } from "../options/server_options.ts";
import { type FirstRun, requireNoSmallerModel } from "../shrink/second_run.ts";
import { checkConflicts } from "./check_options.ts";
import { checkImportance } from "./importance.ts";
import { openRunModel } from "./open_model.ts";
import type { PruneOptions } from "./prune_options.ts";
import { resolveLayers } from "./resolve_layers.ts";
import { modelForRuntime } from "./runtime_format.ts";

/** A run whose options are checked, and whose model and texts are open. */
export type OpenRun = Awaited<ReturnType<typeof openRun>>;

/**
 * @param model the model as the user names it
 * @param cleanup closes the model and the device at the end
 * @param first the run that shrinks the model first, if the command has one
 */
export async function openRun(
  model: string,
  options: PruneOptions,
  signal: AbortSignal,
  cleanup: AsyncDisposableStack,
  first?: FirstRun,
) {
  const written = layerQuery(options), servers = serverUrls(options), { imatrix } = options;
  checkConflicts(options, servers);
  if (imatrix !== undefined) await requireWritableFile("--imatrix", imatrix);
  const { stored, ...run } = await openRunModel(model, options, signal, cleanup), { output } = run;
  if (!first) await requireNoSmallerModel(options.out);
  const opened = modelForRuntime(options.for, stored);
  const layers = await resolveLayers(written, options, stored);
  const seqlen = windowTokens(opened.model, options);
  const texts = await openRunTexts(options, output, signal);
  if (imatrix !== undefined) await checkImportance(imatrix, stored, texts, options);
  const sources = { checkpoint: opened.checkpoint, query: layers.query, options, texts, seqlen, fs };
  let backend: ReturnType<typeof openBackend> | undefined;
  return {
    ...run,
    ...layers,
    ...{ options, stored, opened, servers, texts, seqlen, cleanup, first },
    name: first?.report.model.name ?? run.name,
    fingerprint: await commandFingerprint(sources),
    /** Opens the device at the first call. @param recorded the backend of an unfinished run */
    openDevice: (recorded?: string) =>
      backend ??= openBackend({ ...options, recorded }, cleanup, stored.model),
  };
}
