/**
 * `pare prune MODEL --out FOLDER` prunes the linear layers of a model and writes the pruned checkpoint with a report.
 * The model is calibrated in this process. Its layers are solved in this process or on servers. If the command is
 * stopped or killed, the same command continues the run. If the run is finished, the same command prunes nothing.
 */

import type { Command } from "commander";
import { checkModel } from "../model/gguf/write_gguf.ts";
import { checkImatrixModel } from "../model/gguf/write_imatrix.ts";
import { openModelFolder } from "../model/model.ts";
import { requireNoTokenInputs } from "../model/token_inputs.ts";
import { storesBfloat16 } from "../prune/block_plan.ts";
import { DevicePruner } from "../prune/device_pruner.ts";
import { serverPruner } from "../prune/server_pruner.ts";
import { commandFingerprint, FORWARD_BACKEND, runFingerprint } from "../prune/run/fingerprint.ts";
import { pruneIntoFolder } from "../prune/run/folder_destination.ts";
import { PruneRun } from "../prune/run/prune_run.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { requireFiles } from "./files/input_file.ts";
import { displayedName, inputFiles, modelFolder, remarkFormat } from "./files/model_folder.ts";
import {
  requireEmptyFolder,
  requireNoInput,
  requireOtherFolder,
  requireWritableFile,
  requireWritableFolder,
} from "./files/output_path.ts";
import { openRunTexts, requireTexts } from "./files/text_source.ts";
import { readRunReport } from "./files/run_report_files.ts";
import { openBackend } from "./open_backend.ts";
import { windowTokens } from "./options/common_options.ts";
import { layerQuery } from "./options/layer_options.ts";
import { serverUrls } from "./options/server_options.ts";
import { checkConflicts, checkHeldOut } from "./prune/check_options.ts";
import { requireFiniteWeights } from "./prune/check_weights.ts";
import { writeImportance } from "./prune/importance.ts";
import { findFinishedRun } from "./prune/finished_run.ts";
import { planRun, printPlan } from "./prune/plan/plan_run.ts";
import { tokenWarnings } from "../prune/run/warnings.ts";
import { loadingLines, printRunResult } from "./prune/print_result.ts";
import { progressCallbacks } from "./prune/progress_callbacks.ts";
import { type FirstRun, pruneJob, reportedParameters } from "./prune/prune_job.ts";
import { applyNames } from "./prune/named_options.ts";
import { declarePrune, type PruneFlags, type PruneOptions } from "./prune/prune_options.ts";
import { resolveLayers } from "./prune/resolve_layers.ts";
import {
  hasRuntimeOutput,
  modelForRuntime,
  planForRuntime,
  removeOldExports,
  targetOf,
  writeForRuntime,
} from "./prune/runtime_format.ts";
import { remoteBlocks, remotePruner } from "./remote_client.ts";
import { requireNoSmallerModel } from "./shrink/second_run.ts";
import { Output } from "./terminal/output.ts";

/** Returns the command `pare prune`. `signal` stops it. */
export function createPruneCommand(signal: AbortSignal): Command {
  return declarePrune().action((model: string, options: PruneFlags, command: Command) =>
    prune(model, applyNames(options, command), signal)
  );
}

/** Runs the command. @param first the first run of a command that shrinks the model before */
export async function prune(
  name: string,
  options: PruneOptions,
  signal: AbortSignal,
  first?: FirstRun,
): Promise<void> {
  const { out, calibration, text, profile, for: runtime, imatrix } = options;
  const started = first ? performance.now() : 0; // performance.now() counts from the start of the process
  const written = layerQuery(options);
  const servers = serverUrls(options);
  checkConflicts(options, servers);
  await requireFiles({ profile });
  await requireTexts({ calibration, text }, options.samples);
  const freeBytes = await requireWritableFolder("--out", out);
  if (!first) await requireNoSmallerModel(out);
  if (imatrix !== undefined) await requireWritableFile("--imatrix", imatrix);
  await using cleanup = new AsyncDisposableStack();
  const output = new Output(options.json ?? false);
  const folder = await modelFolder(name, output, signal);
  const stored = cleanup.use(await openModelFolder(folder, fs));
  remarkFormat(stored, output);
  if (options.remote) requireNoTokenInputs(stored.model.spec);
  const opened = modelForRuntime(options, stored), { checkpoint, model } = opened;
  await requireOtherFolder(out, folder);
  const { query, chosen, choice, perRow } = await resolveLayers(written, options, stored);
  const seqlen = windowTokens(model, options.seqlen);
  const texts = await openRunTexts(options, output, signal);
  if (imatrix !== undefined) {
    const read = [...texts.calibration, ...texts.evaluation].map(({ path }) => path);
    await requireNoInput("--imatrix", imatrix, [...inputFiles(stored), ...read, ...profile ? [profile] : []]);
    await checkModel(stored, fs);
    checkImatrixModel(stored);
  }
  const calibrationTexts = { ...options, calibration: texts.calibration, seqlen };
  const openDevice = async (recorded?: string) =>
    cleanup.adopt(
      await openBackend(options.backend, {
        ...options,
        recorded,
        storesBfloat16: storesBfloat16(stored.model),
      }),
      (opened) => opened.dispose(),
    );
  const fingerprint = await commandFingerprint({ checkpoint, query, options, texts, seqlen, fs });
  const finished = options.overwrite ? undefined : await findFinishedRun(out, fingerprint, fs, readRunReport);
  if (finished) {
    output.remark(`${out}: this run is finished already; add --overwrite to prune again`);
    printRunResult(finished, out, output, await loadingLines(out, finished.format, fs), true);
    if (runtime !== undefined && !await hasRuntimeOutput(runtime, out, fs)) {
      await writeForRuntime(runtime, out, finished.model.name, output, signal);
    }
    if (imatrix !== undefined) {
      await writeImportance(imatrix, out, calibrationTexts, { backend: await openDevice(), output, signal });
    }
    return;
  }
  if (runtime !== undefined) await requireEmptyFolder(`${out}/${targetOf(runtime).path}`, options.overwrite);
  const modelName = first?.report.model.name ?? await displayedName(name, folder);
  // A large model takes minutes until its first layer is pruned, so the user sees this line before.
  output.remark(`${options.plan ? "planning to prune" : "pruning"} ${chosen.length} layers of ${modelName}`);
  const exported = runtime === undefined
    ? undefined
    : await planForRuntime(runtime, stored, choice, modelName);
  const recorded = options.restart ? undefined : (await PruneRun.fingerprint(fs, out))?.[FORWARD_BACKEND];
  const hostPool = { ...options, server: servers }, { config } = checkpoint;
  const blocks = options.remote
    ? await remoteBlocks({ ...hostPool, name: modelName, fingerprint, config }, output, signal)
    : undefined;
  let backend = blocks ? undefined : await openDevice(recorded);
  const remote = blocks ? undefined : await remotePruner(hostPool, modelName, output, signal);
  const progress = cleanup.adopt(output.progress("pruning"), (bar) => bar.stop());
  const parameters = reportedParameters(query, options);
  const facts = { name: modelName, opened, choice, parameters, options, texts, seqlen, fingerprint, first };
  const openLater = async () => backend ??= await openDevice();
  const withoutFingerprint = await pruneJob(facts, { openDevice: openLater, fs, signal, progress });
  checkHeldOut(chosen, choice.queryOf, withoutFingerprint.validationWindows?.length ?? 0);
  const loadSeconds = (performance.now() - started) / 1000;
  const job = {
    ...withoutFingerprint,
    loadSeconds,
    fingerprint: runFingerprint(fingerprint, blocks?.device ?? backend!),
  };
  const pruner = blocks?.pruner ?? (remote ? serverPruner(remote) : new DevicePruner(backend!));
  const services = { fs, backend, pruner, signal };
  if (options.plan) {
    if (!options.restart && await PruneRun.exists(fs, out)) {
      output.remark(`${out}: has an unfinished run, but the plan is for a whole run`);
    }
    const measured = { ...services, backend: await openLater(), freeBytes, hosts: servers.length, exported };
    return printPlan(await planRun(job, facts, measured), output);
  }
  if (options.validation > 0 && job.validationWindows?.length === 0) {
    const least = Math.ceil(1 / options.validation);
    output.remark(
      `no window is held out: --validation ${options.validation} needs at least ${least} --samples`,
    );
  }
  if (perRow.length > 0) {
    output.remark(
      `${perRow.length} layers get one grid per row, because their rows are not a multiple of the group size, such as ${
        perRow[0]
      }`,
    );
  }
  for (const line of exported?.lines ?? []) output.remark(`${targetOf(runtime!).path} will have ${line}`);
  for (const warning of tokenWarnings(job, chosen)) output.remark(`warning: ${warning}`);
  await requireFiniteWeights(stored.model.weights, chosen.map(({ name }) => name), signal);
  await pruneIntoFolder(job, { ...services, ...progressCallbacks(progress, output) });
  progress.stop();
  const report = await readRunReport({ folder: out, files: await fs.list(out) ?? [] });
  if (options.overwrite) await removeOldExports(out, fs);
  printRunResult(report!, out, output, await loadingLines(out, report!.format, fs)); // the run has written its report
  if (runtime !== undefined) await writeForRuntime(runtime, out, modelName, output, signal);
  if (imatrix !== undefined) {
    await writeImportance(imatrix, out, calibrationTexts, { backend: await openLater(), output, signal });
  }
}
