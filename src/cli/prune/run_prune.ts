/**
 * One run of `pare prune`, from whatever an earlier one left of it to the whole result: has each layer solved, writes it down,
 * and gives the result its names at the end. A failure leaves what is done, for the same run to go on from.
 */

import type { Backend } from "../../backend/backend.ts";
import type { LayerEvent } from "../../client/events.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { ModelPruner } from "../../client/model_pruner.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import type { HiddenStatesLocation } from "../../models/hidden_states/hidden_states.ts";
import type { Model } from "../../models/model.ts";
import { prepareFolder } from "../../checkpoint/partial_folder.ts";
import { type CompleteCopy, findCompleteCopy } from "../../checkpoint/complete_copy.ts";
import { type OpenCopy, openCopy } from "../../checkpoint/open_copy.ts";
import { removeIfEmpty } from "../../files/remove_if_empty.ts";
import { calibratedModel } from "../../prune/calibrated_model.ts";
import type { Fingerprint } from "../../prune/run/fingerprint.ts";
import type { LayerEntry } from "../../prune/run/journal.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import type { NameSet } from "../../prune/block_plan.ts";
import { PhaseClock } from "../../prune/phase_clock.ts";

/** What is to be done. */
export interface PruneJob {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  readonly windows: readonly Uint32Array[];
  readonly layers: NameSet;
  queryOf(name: string): LayerQuery;
  readonly trueSequential?: boolean;
  readonly activations: HiddenStatesLocation;
  readonly out: string;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
  /** Everything that the bytes of the result depend on. */
  readonly fingerprint: Fingerprint;
  /** Turns the dense copy in a folder into the result in `out`; without it the copy is the result. */
  readonly pack?: (folder: string) => Promise<void>;
  /** Texts, by name, of the files that tell of the run, which has `pruned` all that was chosen. */
  reportFiles(run: PruneRun, pruned: Model): Promise<ReadonlyMap<string, string>>;
  /** The names of those. */
  readonly reportFileNames: readonly string[];
}

/** With what it is done. */
export interface PruneSetting {
  readonly fs: WorkFileSystem;
  /** Runs the forwards. */
  readonly backend: Backend;
  /** Solves the layers. */
  readonly pare: ModelPruner;
  readonly signal?: AbortSignal;
  /** Told of layers done before, and of each that is done now. */
  layerDone?(done: number, total: number, event?: LayerEvent): void;
  calibrating?(done: number, total: number): void;
  /** Told when work is left in `folder` after a failure. */
  kept?(folder: string): void;
}

/**
 * Does it.
 * @returns what was done to each layer, by this process or an earlier one
 * @throws whatever stopped it; what is done is kept unless there was nothing
 */
export async function runPrune(job: PruneJob, setting: PruneSetting): Promise<LayerEntry[]> {
  const { fs } = setting;
  const isNew = await fs.list(job.out) === undefined;
  await using run = await PruneRun.open(fs, job.out, job);
  const copyFolder = job.pack ? run.denseFolder : job.out;
  let open: OpenCopy | undefined;
  try {
    await prepareFolder(job.checkpoint, job.out, fs, run.isResumed || (job.overwrite ?? false));
    let complete: CompleteCopy;
    if (run.isComplete) {
      complete = await findCompleteCopy(job.checkpoint, copyFolder, fs, job.reportFileNames);
    } else {
      open = await openCopy(job.checkpoint, copyFolder, fs, {
        overwrite: job.overwrite,
        replaced: run.isResumed ? run.layers.map(({ name }) => name) : undefined,
        extraFiles: job.reportFileNames,
      });
      complete = await pruneAndComplete(job, setting, run, open);
    }
    await complete.publish();
    await job.pack?.(run.denseFolder);
  } catch (error) {
    try {
      await leave(job, setting, run, open, isNew);
    } catch (leaving) {
      throw new SuppressedError(leaving, error, "what failed first is what matters");
    }
    throw error;
  }
  await run.remove();
  return run.layers;
}

/** After a failure: keeps what is done, or removes every trace where nothing is. */
async function leave(
  { out }: PruneJob,
  { fs, kept }: PruneSetting,
  run: PruneRun,
  open: OpenCopy | undefined,
  isNew: boolean,
): Promise<void> {
  if (await run.hasProgress()) {
    await open?.close();
    kept?.(run.folder);
    return;
  }
  await open?.abort();
  await run.remove();
  if (isNew) await removeIfEmpty(fs, out);
}

/** Prunes the remaining layers and completes the copy. The journal records the start, every layer and the completion. */
async function pruneAndComplete(
  job: PruneJob,
  setting: PruneSetting,
  run: PruneRun,
  copy: OpenCopy,
): Promise<CompleteCopy> {
  await run.journal.append({ type: "start", time: new Date().toISOString() });
  await pruneLayers(job, setting, run, copy);
  const pruned = { spec: job.model.spec, weights: copy.tensors };
  const texts = [...await job.reportFiles(run, pruned)].map((
    [name, text],
  ) => [name, new TextEncoder().encode(text)]);
  const complete = await copy.complete({ extras: Object.fromEntries(texts), signal: setting.signal });
  await run.journal.append({ type: "complete" });
  return complete;
}

async function pruneLayers(
  job: PruneJob,
  setting: PruneSetting,
  run: PruneRun,
  copy: OpenCopy,
): Promise<void> {
  const { signal } = setting;
  const finished = new Set(run.layers.map(({ name }) => name));
  const source = calibratedModel(job.model, setting.backend, {
    windows: job.windows,
    layers: job.layers,
    trueSequential: job.trueSequential,
    finished: { has: (name) => finished.has(name), read: (name) => copy.replacement(name) },
    hiddenStates: { folder: run.states, location: job.activations },
    onReplace: async (name, weight) => {
      await copy.replace(name, weight);
      await copy.sync(name);
    },
    progress: setting.calibrating,
    signal,
  });
  const total = finished.size + source.layerCount;
  setting.layerDone?.(finished.size, total);
  const clock = new PhaseClock();
  for await (const event of setting.pare.pruneModel(clock.timeCalibration(source), job.queryOf, { signal })) {
    if (event.type !== "layer") continue;
    refuseOtherAdapter(run, event);
    const { name, block, report } = event;
    await run.journal.append({ type: "layer", name, block, seconds: clock.lap(), report });
    setting.layerDone?.(finished.size + event.done, total, event);
  }
}

/** Layers of one run come from one adapter: others round otherwise, and the run would not end in the same bytes. */
function refuseOtherAdapter(run: PruneRun, { name, report }: LayerEvent): void {
  const first = run.layers[0]?.report ?? report;
  if (first.backend === report.backend && first.adapter === report.adapter) return;
  throw new Error(
    `${name}: was solved on ${report.backend} (${report.adapter}), the run's first layer on ${first.backend} ` +
      `(${first.adapter}). Continue with the first, start over with --restart, or write to another folder`,
  );
}
