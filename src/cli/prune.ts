/**
 * `pare prune MODEL --out FOLDER` prunes the linear layers of a model and writes the pruned checkpoint with a report.
 * The model is calibrated in this process. Its layers are solved in this process or on servers. If the command is
 * stopped or killed, the same command continues the run. If the run is finished, the same command prunes nothing.
 */

import type { Command } from "commander";
import { openModelFolder } from "../model/model.ts";
import type { RunReport } from "../prune/report/run_report.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { readRunReport } from "./files/run_report_files.ts";
import { writeImportance } from "./prune/importance.ts";
import { findFinishedRun } from "./prune/finished_run.ts";
import { applyNames } from "./prune/named_options.ts";
import { type OpenRun, openRun } from "./prune/open_run.ts";
import { printRunResult } from "./prune/print_result.ts";
import { declarePrune, type PruneOptions } from "./prune/prune_options.ts";
import { fileTarget } from "./prune/runtime_format.ts";
import { execute, plan, startRun } from "./prune/start_run.ts";
import type { FirstRun } from "./shrink/second_run.ts";

/** Returns the command `pare prune`. `signal` stops it. */
export function createPruneCommand(signal: AbortSignal): Command {
  return declarePrune().action((model: string, options: PruneOptions, command: Command) =>
    prune(model, applyNames(options, command), signal)
  );
}

/** Runs the command. @param first the run that shrinks the model first, if the command has one */
export async function prune(
  name: string,
  options: PruneOptions,
  signal: AbortSignal,
  first?: FirstRun,
): Promise<void> {
  const started = first ? performance.now() : 0; // performance.now() counts from the start of the process
  const { out, overwrite } = options;
  await using cleanup = new AsyncDisposableStack();
  const run = await openRun(name, options, signal, cleanup, first), { output } = run;
  const finished = overwrite ? undefined : await findFinishedRun(out, run.fingerprint, fs, readRunReport);
  if (finished) {
    output.remark(`${out}: this run is finished already; add --overwrite to prune again`);
    return await writeResults(run, finished, true);
  }
  const startedRun = await startRun(run, started);
  if (options.plan) return await plan(startedRun);
  await execute(startedRun);
  const report = await readRunReport({ folder: out, files: await fs.list(out) ?? [] });
  await writeResults(run, report!); // the run has written its report
}

/** Prints the result, and writes the files that are not part of the checkpoint. @param wasFinished whether an earlier command had finished the run */
async function writeResults(run: OpenRun, report: RunReport, wasFinished = false): Promise<void> {
  const { options: { out, imatrix }, output } = run;
  await printRunResult(report, out, output, wasFinished);
  // A run that writes no checkpoint has measured its result before it was finished.
  if (imatrix === undefined || fileTarget(report.format)) return;
  await using pruned = await openModelFolder(out, fs);
  await writeImportance(run, pruned);
}
