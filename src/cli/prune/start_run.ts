/** Runs or plans the job of `pare prune` and `pare quantize`. */

import { requireFiniteWeights } from "../../model/formats/checkpoint/scan_checkpoint.ts";
import { DevicePruner } from "../../prune/device_pruner.ts";
import { FORWARD_BACKEND, runFingerprint } from "../../prune/run/fingerprint.ts";
import { pruneIntoFolder } from "../../prune/run/folder_destination.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { serverPruner } from "../../prune/server_pruner.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { remoteBlocks, remotePruner } from "../remote_client.ts";
import type { OpenRun } from "./open_run.ts";
import { planRun, printPlan } from "./plan/plan_run.ts";
import { progressCallbacks } from "./progress_callbacks.ts";
import { pruneJob } from "./prune_job.ts";
import { planForRuntime } from "./runtime_format.ts";
import { findFinishedRun } from "./finished_run.ts";
import { readRunReport } from "../files/run_report_files.ts";
import type { RunReport } from "../../prune/report/run_report.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";

type StartedRun = Awaited<ReturnType<typeof startRun>>;

/** Returns the report of the run if its folder has it already. @throws the errors of `findFinishedRun` */
export async function finishedReport({ options: { out, overwrite }, fingerprint }: OpenRun) {
  return overwrite ? undefined : await findFinishedRun(out, fingerprint, fs, readRunReport);
}

/** Runs the job and returns its report, or with `--plan` prints the plan. @param started the time at which the command started, in milliseconds */
export async function runOrPlan(run: OpenRun, started: number): Promise<RunReport | undefined> {
  const startedRun = await startRun(run, started), { out } = run.options;
  if (run.options.plan) {
    await plan(startedRun);
    return undefined;
  }
  await execute(startedRun);
  return await readRunReport({ folder: out, files: await fs.list(out) ?? [] });
}

/** Builds the job and chooses its solver. */
async function startRun(run: OpenRun, started: number) {
  const { options, opened, chosen, choice, name, fingerprint, output, signal } = run;
  const { out, for: runtime } = options;
  // A large model takes minutes until its first layer is pruned, so this line is printed first.
  const [verb, work] = onlyRounds(run.query) ? ["round", "rounding"] : ["prune", "pruning"];
  output.remark(`${options.plan ? `planning to ${verb}` : work} ${chosen.length} layers of ${name}`);
  const exported = await planForRuntime(runtime, opened, choice, name);
  const recorded = options.restart ? undefined : (await PruneRun.fingerprint(fs, out))?.[FORWARD_BACKEND];
  const hostPool = { ...options, server: run.servers }, { config } = opened.checkpoint;
  const blocks = options.remote
    ? await remoteBlocks({ ...hostPool, name, fingerprint, config }, output, signal)
    : undefined;
  const backend = blocks ? undefined : await run.openDevice(recorded);
  const remote = blocks ? undefined : await remotePruner(hostPool, name, output, signal);
  const pruner = blocks?.pruner ?? (remote ? serverPruner(remote) : new DevicePruner(backend!));
  const progress = run.cleanup.adopt(output.progress(work), (bar) => bar.stop());
  const prepared = await pruneJob(run, exported?.output, progress);
  const job = {
    ...prepared,
    loadSeconds: (performance.now() - started) / 1000,
    fingerprint: runFingerprint(fingerprint, blocks?.device ?? backend!),
  };
  return { run, job, services: { fs, backend, pruner, signal }, exported, progress };
}

/** Measures and prints the time, memory and disk that the run would need. */
async function plan({ run, job, services, exported }: StartedRun): Promise<void> {
  const { options, servers, freeBytes, output } = run;
  if (!options.restart && await PruneRun.exists(fs, options.out)) {
    output.remark(`${options.out}: has an unfinished run, but the plan is for a whole run`);
  }
  const backend = await run.openDevice();
  const measured = { ...services, backend, freeBytes, hosts: servers.length, exported };
  printPlan(await planRun(job, { ...run, parameters: job.parameters }, measured), output);
}

/** Prints what may surprise the user, and writes the pruned checkpoint with its report. */
async function execute({ run, job, services, exported, progress }: StartedRun): Promise<void> {
  const { options: { validation }, perRow, output, signal } = run;
  if (validation > 0 && job.validationWindows?.length === 0) {
    const least = Math.ceil(1 / validation);
    output.remark(`no window is held out: --validation ${validation} needs at least ${least} --samples`);
  }
  if (perRow.length > 0) {
    output.remark(
      `${perRow.length} layers get one grid per row, because their rows are not a multiple of the group size, such as ${
        perRow[0]
      }`,
    );
  }
  for (const line of exported?.lines ?? []) output.remark(`the file will have ${line}`);
  for (const warning of job.warnings) output.remark(`warning: ${warning}`);
  // Otherwise a run of hours could end in its last block.
  await requireFiniteWeights(run.stored.model.weights, run.choice.chosen.keys(), signal);
  await pruneIntoFolder(job, { ...services, ...progressCallbacks(progress, output) });
  progress.stop();
}

/** Whether the layers are rounded, and no weight is set to zero. */
function onlyRounds({ bits, sparsity, pattern = "unstructured" }: LayerQuery): boolean {
  return bits !== undefined && sparsity === 0 && pattern === "unstructured";
}
