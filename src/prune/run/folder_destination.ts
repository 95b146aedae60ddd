/**
 * The output folder of `pare prune` as a destination. Each pruned layer is recorded in a journal. At the end, the files of the result get
 * their final names. After a failure, the finished layers stay in the folder, so that the same command can continue.
 */

import { describeRounding } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import type { CompleteCopy } from "../../model/checkpoint/write/complete_copy.ts";
import { type OpenCopy, openCopy } from "../../model/checkpoint/write/open_copy.ts";
import { prepareFolder } from "../../model/checkpoint/write/partial_folder.ts";
import type { WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { LayerEvent } from "../../protocol/run/solve_round.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { removeIfEmpty } from "../../base/files/whole_file.ts";
import type { Model } from "../../model/model.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { linearLayers, type NameSet } from "../block_plan.ts";
import { OtherRunError, type RunFingerprint } from "./fingerprint.ts";
import { finiteOrNull, type LayerEntry } from "./journal.ts";
import type { OpenDestination, PruneJob, PruneServices } from "./job.ts";
import { pruneModel } from "./prune_model.ts";
import { type OutputPlan, planOutput } from "./plan_output.ts";
import { PruneRun } from "./prune_run.ts";
import { repairRun } from "./repair_run.ts";
import { finishReconstruction, storeReconstruction } from "./stored_reconstruction.ts";

export interface FolderJob extends PruneJob {
  readonly checkpoint: Checkpoint;
  readonly layers: NameSet;
  readonly out: string;
  /** Whether a checkpoint in the output folder may be replaced. */
  readonly overwrite?: boolean;
  /** Whether to discard an unfinished run in the output folder. */
  readonly restart?: boolean;
  /** Everything that the bytes of the result depend on. */
  readonly fingerprint: RunFingerprint;
  /** The name of the format of the result. @default "dense" */
  readonly format?: RunOptions["format"];
  /** Plans a result of another form. @param layers the layers that earlier processes have pruned. @default `planOutput` */
  planOutput?(layers: readonly LayerEntry[]): OutputPlan;
  /**
   * Returns the texts of the report files, by file name.
   * @param pruned the model that is written
   * @param writeSeconds the time in which everything else was written
   * @param plan the plan of the files that are written
   */
  reportFiles(
    run: PruneRun,
    pruned: Model,
    writeSeconds: number,
    plan: WritePlan,
  ): Promise<ReadonlyMap<string, string>>;
  /** The seconds that this process needed until the run could start. @default 0 */
  readonly loadSeconds?: number;
  readonly reportFileNames: readonly string[];
}

export interface FolderServices extends PruneServices {
  readonly fs: WorkFileSystem;
  /** Called for each kind of damage that was found in the files of the unfinished run. The run repeats the lost work. */
  onDamage?(description: string): void;
  /** Called after a failure if the run has made progress, with the folder of the unfinished run. */
  onUnfinished?(folder: string): void;
}

/**
 * Runs the job to its end, or continues the run of an earlier process.
 * @returns the journal's entries of all layers, pruned by this process or an earlier one
 * @throws the error that stopped the run. The finished layers are kept. If the run has made no progress, its files are removed
 */
export function pruneIntoFolder(job: FolderJob, services: FolderServices): Promise<LayerEntry[]> {
  const destination = { fill: (prune: Prune) => fillFolder(job, services, prune) };
  return pruneModel({ ...job, destination }, services);
}

/** Prunes the layers that the open destination lacks. */
type Prune = (open: OpenDestination) => Promise<void>;

async function fillFolder(job: FolderJob, services: FolderServices, prune: Prune): Promise<LayerEntry[]> {
  const { fs } = services;
  const isNew = await fs.list(job.out) === undefined;
  await using run = await PruneRun.open(fs, job.out, job);
  let open: OpenCopy | undefined;
  try {
    const output = job.planOutput?.(run.layers) ?? planOutput(job, fs);
    await prepareFolder(job.checkpoint, job.out, fs, run.isResumed || (job.overwrite ?? false));
    let complete = run.isResumed ? await repair(job, services, run, output) : undefined;
    if (!complete) {
      open = await openCopy(output.plan, job.out, fs, {
        overwrite: job.overwrite,
        replaced: run.isResumed ? run.replaced : undefined,
        extraFiles: job.reportFileNames,
      });
      complete = await pruneAndComplete(job, services, run, open, output, prune);
    }
    await complete.publish();
  } catch (error) {
    try {
      await cleanUpAfterFailure(job, services, run, open, isNew);
    } catch (cleanUpError) {
      throw new SuppressedError(cleanUpError, error, "cleaning up after a failure failed");
    }
    throw error;
  }
  await run.remove();
  return run.layers;
}

/** Discards what is damaged in a run that continues. Returns the complete copy, if only its names have to be changed. */
async function repair(
  { model, layers, out, reportFileNames }: FolderJob,
  { onDamage }: FolderServices,
  run: PruneRun,
  { plan }: OutputPlan,
): Promise<CompleteCopy | undefined> {
  await finishReconstruction(run, plan, out);
  const chosen = linearLayers(model.spec).filter(({ name }) => layers.has(name));
  const files = { plan, out, extraFiles: reportFileNames, layers: chosen };
  const { complete, damage } = await repairRun(run, files);
  for (const description of damage) onDamage?.(description);
  return complete;
}

/** Keeps the finished layers after a failure. If the run has made no progress, removes every file that it created. */
async function cleanUpAfterFailure(
  { out }: FolderJob,
  { fs, onUnfinished }: FolderServices,
  run: PruneRun,
  open: OpenCopy | undefined,
  isNew: boolean,
): Promise<void> {
  if (await run.hasProgress()) {
    await open?.close();
    onUnfinished?.(run.folder);
    return;
  }
  await open?.abort();
  await run.remove();
  if (isNew) await removeIfEmpty(fs, out);
}

/** Prunes the remaining layers and completes the copy. The journal records the start, every layer and the completion. */
async function pruneAndComplete(
  job: FolderJob,
  { signal }: FolderServices,
  run: PruneRun,
  copy: OpenCopy,
  output: OutputPlan,
  prune: Prune,
): Promise<CompleteCopy> {
  const { loadSeconds: seconds = 0 } = job;
  await run.journal.append({ type: "start", time: new Date().toISOString(), seconds });
  await prune(openFolder(job, run, copy, output));
  const pruned = output.result(copy.tensors);
  const started = performance.now();
  const complete = await copy.complete({
    makeExtras: () => job.reportFiles(run, pruned, secondsSince(started), output.plan),
    signal,
  });
  await run.journal.append({ type: "complete", files: Object.fromEntries(complete.digests) });
  return complete;
}

/** Returns the copy and the journal of the run as a destination. */
function openFolder(
  { model }: FolderJob,
  run: PruneRun,
  copy: OpenCopy,
  output: OutputPlan,
): OpenDestination {
  const isOfModel = (name: string) => model.weights.has(name);
  const digests = new Map<string, Record<string, string>>();
  const store = async (name: string, tensors: ReadonlyMap<string, HostTensor>) => {
    const stored: Record<string, string> = {};
    for (const [part, tensor] of tensors) stored[part] = await copy.replace(part, tensor);
    await copy.sync(...tensors.keys());
    digests.set(name, stored);
  };
  return {
    recordBlockError: (block, error) =>
      run.journal.append({ type: "block", block, error: finiteOrNull(error) }),
    recordDecision: (block, { areKept, errors: { withTargets, without } }) =>
      run.journal.append({
        type: "targets",
        block,
        kept: areKept,
        error_with: finiteOrNull(withTargets),
        error_without: finiteOrNull(without),
      }),
    decided: new Map(run.blocks.flatMap(({ block, targets }) => targets ? [[block, targets.kept]] : [])),
    async recordReconstruction(block, reconstructed) {
      const tensors = new Map<string, HostTensor>();
      for (const trained of reconstructed.tensors) {
        for (const [name, tensor] of await output.stored(...trained)) tensors.set(name, tensor);
      }
      await storeReconstruction(run, copy, block, { ...reconstructed, tensors });
    },
    measured: new Set(run.blocks.flatMap(({ block, error }) => error === undefined ? [] : [block])),
    finished: new Set(run.layers.map(({ name }) => name)),
    reconstructed: new Map(
      run.reconstructions.map(({ block, digests }) => [block, Object.keys(digests).filter(isOfModel)]),
    ),
    readFinished: (name) => output.read(copy.tensors, name),
    states: run.states,
    async allocation(choose) {
      if (run.allocation) return run.allocation;
      const started = performance.now(), made = await run.withTemporaryStates(choose);
      await run.journal.append({
        type: "allocation",
        ...made,
        sparsities: { ...made.sparsities },
        notes: [...made.notes],
        seconds: secondsSince(started),
      });
      return made;
    },
    takeAnswer: output.takeAnswer && ((layer) => output.takeAnswer!(layer, store)),
    async replace(name, weight) {
      const tensors = await (output.storedLayer ?? output.stored)(name, weight);
      if (tensors.size > 0) await store(name, tensors);
    },
    async record(event, seconds) {
      refuseOtherAdapter(run, event);
      const { name, block, tokens, report } = event;
      const stored = digests.get(name)!; // the layer was replaced before its event
      const columns = output.keptColumns?.(name), kept = columns && [...columns];
      await run.journal.append({
        type: "layer",
        name,
        block,
        seconds,
        tokens,
        report,
        kept,
        digests: stored,
      });
    },
  };
}

/** Refuses a layer from another adapter. Adapters round differently, so the run would not end in the same bytes. */
function refuseOtherAdapter(run: PruneRun, { name, report }: LayerEvent): void {
  const first = run.layers[0]?.report ?? report;
  if (describeRounding(first) === describeRounding(report)) return;
  throw new OtherRunError(
    `${name}: was solved on ${report.backend} (${report.adapter}), but the first layer of the run was solved on ` +
      `${first.backend} (${first.adapter}). Continue on the adapter of the first layer, start over with ` +
      "--restart, or write to another folder",
  );
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
