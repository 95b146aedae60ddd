/**
 * `pare prune MODEL --out FOLDER` prunes the linear layers of a model and writes the pruned checkpoint with a report.
 * The model is calibrated in this process. Its layers are solved in this process or on servers. If the command is
 * stopped or killed, the same command continues the run. If the run is finished, the same command prunes nothing.
 */

import type { Command } from "commander";
import { openModelFolder } from "../model/model.ts";
import type { RunReport } from "../prune/report/run_report.ts";
import { denoFileSystem as fs } from "./files/deno_file_system.ts";
import { writeImportance } from "./prune/importance.ts";
import { applyNames } from "./prune/named_options.ts";
import { type OpenRun, openRun } from "./prune/open_run.ts";
import { printRunResult } from "./prune/print_result.ts";
import { declarePrune, type PruneOptions } from "./prune/prune_options.ts";
import { fileTarget } from "./prune/runtime_format.ts";
import { finishedReport, runOrPlan } from "./prune/start_run.ts";
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
  const { out } = options;
  await using cleanup = new AsyncDisposableStack();
  const run = await openRun(name, options, signal, cleanup, first), finished = await finishedReport(run);
  if (!finished) {
    const report = await runOrPlan(run, started);
    return report && await writeResults(run, report);
  }
  run.output.remark(`${out}: this run is finished already; add --overwrite to prune again`);
  await writeResults(run, finished, true);
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
