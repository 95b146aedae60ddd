/**
 * Runs `pare prune`, or continues the run of an earlier process. It prunes the remaining layers and records
 * each of them in a journal, a file of finished work. At the end, it gives the files of the result their
 * final names. After a failure, the finished layers stay in the output folder, so that the same command can
 * continue.
 */

import type { Backend } from "../../backend/backend.ts";
import type { LayerEvent } from "../../client/model_pruner.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { readTensor } from "../../checkpoint/tensor_source.ts";
import type { CompleteCopy } from "../../checkpoint/write/complete_copy.ts";
import { type OpenCopy, openCopy } from "../../checkpoint/write/open_copy.ts";
import { prepareFolder } from "../../checkpoint/write/partial_folder.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import type { HiddenStatesLocation } from "../../models/hidden_states/hidden_states.ts";
import type { Model } from "../../models/model.ts";
import { describeRounding } from "../../host/backends.ts";
import { removeIfEmpty } from "../../files/output_folder.ts";
import { allocate, withAllocation } from "../../prune/allocation/allocate.ts";
import type { Allocation } from "../../prune/allocation/allocation.ts";
import { calibratedModel, type CalibrationStep } from "../../prune/calibrated_model.ts";
import type { CalibratedPruner } from "../../prune/device_pruner.ts";
import type { Fingerprint } from "../../prune/run/fingerprint.ts";
import { OtherRunError } from "../../prune/run/other_run_error.ts";
import type { LayerEntry } from "../../prune/run/journal.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { repairRun } from "../../prune/run/repair_run.ts";
import { type OutputPlan, planOutput } from "../../prune/run/plan_output.ts";
import { linearLayers, type NameSet } from "../../prune/block_plan.ts";
import { PhaseClock } from "../../prune/phase_clock.ts";
import { quantizedModel } from "../../prune/quantized_model.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { TimeLeft } from "./plan/time_left.ts";
import type { AllocationRequest } from "../options/allocate_option.ts";

/** The model to prune, the parameters, and the files to write. */
export interface PruneJob {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** The calibration windows, which are pieces of the calibration text, as token ids. */
  readonly windows: readonly Uint32Array[];
  /** The number of windows of each text on which `reportFiles` measures the perplexity. @default [] */
  readonly evaluatedWindows?: readonly number[];
  /** The names of the weights to prune. */
  readonly layers: NameSet;
  /** Returns the parameters of the layer `name`. */
  queryOf(name: string): LayerQuery;
  /** The layers whose sparsities are chosen before the first layer is pruned. By default `queryOf` has all sparsities. */
  readonly allocation?: AllocationRequest;
  readonly trueSequential?: boolean;
  readonly activations: HiddenStatesLocation;
  /** The output folder. */
  readonly out: string;
  /** Whether a checkpoint in the output folder may be replaced. */
  readonly overwrite?: boolean;
  /** Whether to discard an unfinished run in the output folder. */
  readonly restart?: boolean;
  /** Everything that the bytes of the result depend on. */
  readonly fingerprint: Fingerprint;
  /** Returns the grid of the layer `name` in a quantised result. Absent if the result is dense. */
  readonly gridOf?: (name: string) => GridOptions | undefined;
  /**
   * Returns the texts of the report files, by file name.
   * @param pruned the pruned model
   * @param writeSeconds the time in which everything else was written
   */
  reportFiles(run: PruneRun, pruned: Model, writeSeconds: number): Promise<ReadonlyMap<string, string>>;
  /** The seconds that this process needed until the run could start. @default 0 */
  readonly loadSeconds?: number;
  /** The names of the report files. */
  readonly reportFileNames: readonly string[];
}

/** The files, the backend and the client that a run uses, and callbacks for its progress. */
export interface PruneServices {
  readonly fs: WorkFileSystem;
  /** Runs the forward passes of the calibration. */
  readonly backend: Backend;
  /** Solves the layers. */
  readonly pruner: CalibratedPruner;
  readonly signal?: AbortSignal;
  /**
   * Called at the start with the number of layers that earlier processes finished, and then after each layer. `secondsLeft` is the time
   * that the run needs until its result is written. It is undefined as long as no layer is solved.
   */
  onLayerDone?(done: number, total: number, event?: LayerEvent, secondsLeft?: number): void;
  /** Called after each step of the measurements for the allocation. `total` is the number of all steps. */
  onAllocationStep?(done: number, total: number): void;
  /** Called after each step of the calibration. */
  onCalibrationStep?(step: CalibrationStep, secondsLeft?: number): void;
  /** Called for each kind of damage that was found in the files of the unfinished run. The run repeats the lost work. */
  onDamage?(description: string): void;
  /** Called after a failure if the run has made progress, with the folder of the unfinished run. */
  onUnfinished?(folder: string): void;
}

/**
 * Runs the job to its end.
 * @returns the journal's entries of all layers, pruned by this process or an earlier one
 * @throws the error that stopped the run. The finished layers are kept. If the run has made no progress, its
 * files are removed
 */
export async function runPrune(job: PruneJob, services: PruneServices): Promise<LayerEntry[]> {
  const { fs } = services;
  const isNew = await fs.list(job.out) === undefined;
  const output = planOutput(job, fs), { plan } = output;
  await using run = await PruneRun.open(fs, job.out, job);
  let open: OpenCopy | undefined;
  try {
    await prepareFolder(job.checkpoint, job.out, fs, run.isResumed || (job.overwrite ?? false));
    let complete = run.isResumed ? await repair(job, services, run, output) : undefined;
    if (!complete) {
      open = await openCopy(plan, job.out, fs, {
        overwrite: job.overwrite,
        replaced: run.isResumed ? run.replaced : undefined,
        extraFiles: job.reportFileNames,
      });
      complete = await pruneAndComplete(job, services, run, open, output);
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
  { model, layers, out, reportFileNames }: PruneJob,
  { onDamage }: PruneServices,
  run: PruneRun,
  { plan }: OutputPlan,
): Promise<CompleteCopy | undefined> {
  const chosen = linearLayers(model.spec).filter(({ name }) => layers.has(name));
  const files = { plan, out, extraFiles: reportFileNames, layers: chosen };
  const { complete, damage } = await repairRun(run, files);
  for (const description of damage) onDamage?.(description);
  return complete;
}

/**
 * Keeps the finished layers after a failure. If the run has made no progress, removes every file that it
 * created.
 */
async function cleanUpAfterFailure(
  { out }: PruneJob,
  { fs, onUnfinished }: PruneServices,
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
  job: PruneJob,
  services: PruneServices,
  run: PruneRun,
  copy: OpenCopy,
  output: OutputPlan,
): Promise<CompleteCopy> {
  const { loadSeconds: seconds = 0 } = job;
  await run.journal.append({ type: "start", time: new Date().toISOString(), seconds });
  const allocation = job.allocation && (run.allocation ?? await makeAllocation(job, services, run));
  const queryOf = allocation ? withAllocation(job.queryOf, allocation) : job.queryOf;
  await pruneLayers({ ...job, queryOf }, services, run, copy, output);
  const pruned = { spec: job.model.spec, weights: output.denseWeights(copy.tensors) };
  const started = performance.now();
  const complete = await copy.complete({
    makeExtras: () => job.reportFiles(run, pruned, secondsSince(started)),
    signal: services.signal,
  });
  await run.journal.append({ type: "complete", files: Object.fromEntries(complete.digests) });
  return complete;
}

/** Chooses the sparsity of each layer and records it, so that a resumed run has the same sparsities. */
async function makeAllocation(
  { model, windows, activations, queryOf, allocation }: PruneJob,
  { backend, pruner, signal, onAllocationStep }: PruneServices,
  run: PruneRun,
): Promise<Allocation> {
  const { name, layers, sparsity } = allocation!, started = performance.now();
  const shared = { model, layers, sparsity, queryOf, windows, backend, pruner, signal };
  const made = await run.withTemporaryStates((folder) =>
    allocate(name, {
      ...shared,
      hiddenStates: { folder, location: activations },
      progress: onAllocationStep,
    })
  );
  await run.journal.append({
    type: "allocation",
    ...made,
    sparsities: { ...made.sparsities },
    notes: [...made.notes],
    seconds: secondsSince(started),
  });
  return made;
}

async function pruneLayers(
  job: PruneJob,
  services: PruneServices,
  run: PruneRun,
  copy: OpenCopy,
  { parts, denseWeights }: OutputPlan,
): Promise<void> {
  const { signal } = services;
  const finished = new Set(run.layers.map(({ name }) => name));
  const digests = new Map<string, Record<string, string>>(), timeLeft = new TimeLeft(job, new Set(finished));
  const weights = denseWeights(copy.tensors);
  const store = async (name: string, tensors: ReadonlyMap<string, HostTensor>) => {
    const stored: Record<string, string> = {};
    for (const [part, tensor] of tensors) stored[part] = await copy.replace(part, tensor);
    await copy.sync(...tensors.keys());
    digests.set(name, stored);
  };
  const calibrated = calibratedModel(job.model, services.backend, {
    windows: job.windows,
    layers: job.layers,
    trueSequential: job.trueSequential,
    finished: { has: (name) => finished.has(name), read: (name) => readTensor(weights, name) },
    hiddenStates: { folder: run.states, location: job.activations },
    onReplace: async (name, weight) => {
      if (!parts.has(name)) await store(name, new Map([[name, weight]])); // the parts of a quantised weight are stored already
    },
    progress: (step) => {
      timeLeft.addStep(step);
      services.onCalibrationStep?.(step, timeLeft.seconds);
    },
    signal,
  });
  const source = job.gridOf ? quantizedModel(calibrated, job.gridOf, store) : calibrated;
  const total = finished.size + source.layerCount;
  services.onLayerDone?.(finished.size, total);
  const clock = new PhaseClock();
  for await (
    const event of services.pruner.pruneModel(clock.timeCalibration(source), job.queryOf, { signal })
  ) {
    if (event.type !== "layer") continue;
    refuseOtherAdapter(run, event);
    const { name, block, tokens, report } = event, seconds = clock.lap();
    await run.journal.append({
      type: "layer",
      name,
      block,
      seconds,
      tokens,
      report,
      digests: digests.get(name)!, // the layer was replaced before its event
    });
    timeLeft.addLayer(name, seconds);
    services.onLayerDone?.(finished.size + event.done, total, event, timeLeft.seconds);
  }
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
