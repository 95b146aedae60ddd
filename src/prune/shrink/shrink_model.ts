/**
 * Makes a model smaller: drops whole blocks, and removes experts, heads, and neurons of the feed-forward networks. The
 * experts are chosen by scores (`expert_scores.ts`). The heads and the neurons of a block are chosen by the error of the
 * layer that reads them. Its other weights compensate for the removed ones (`layer/solvers/obc_columns.ts`).
 * `pruneModel` calibrates each block with the outputs of the smaller blocks before it. The result is an ordinary
 * checkpoint of its family.
 */

import type { Backend } from "../../device/backend.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { BlockOptions } from "../../protocol/run/options.ts";
import { DEFAULT_TARGET_STEP } from "../../protocol/limits.ts";
import { type FolderJob, type FolderServices, pruneIntoFolder } from "../run/folder_destination.ts";
import type { PruneJob } from "../run/job.ts";
import type { LayerEntry } from "../run/journal.ts";
import type { PruneRun } from "../run/prune_run.ts";
import { blockSimilarities, mostSimilarBlocks } from "./block_similarity.ts";
import { bestExperts, type ExpertUse, measureExperts } from "./expert_scores.ts";
import type { RenamedModel } from "./renamed_model.ts";
import { shrunkOutput } from "./shrunk_output.ts";
import { requireBlocks, smallerNetwork, withoutLastParts } from "./smaller_network.ts";
import type { KeptUnits } from "./units.ts";
import { configWithoutBlocks, withoutBlocks } from "./without_blocks.ts";
import { withoutExperts } from "./without_experts.ts";

/** The parameters of the layers that lose columns, without the share of the columns. */
export const SHRINK_QUERY: LayerQuery = { method: "obc", pattern: "columns", damping: "auto" };

/** How a model is shrunk. */
export interface ShrinkJob extends
  Partial<BlockOptions>,
  Pick<PruneJob, "evaluatedWindows">,
  Pick<
    FolderJob,
    "checkpoint" | "model" | "out" | "overwrite" | "restart" | "fingerprint" | "loadSeconds"
  > {
  /** The calibration windows as token ids, all of one length, and held-out ones, as in `PruneJob`. */
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  readonly kept: KeptUnits;
  /** The number of blocks to drop. */
  readonly blocks: number;
  readonly reportFileNames: readonly string[];
  /** Returns the texts of the report files, by file name. */
  reportFiles(written: WrittenModel): Promise<ReadonlyMap<string, string>>;
}

export interface ShrinkServices extends FolderServices {
  readonly backend: Backend;
  /** Called after each step of the pass that compares the blocks. */
  onSimilarityStep?(done: number, total: number): void;
  /** Called after each step of the pass that scores the experts. */
  onExpertStep?(done: number, total: number): void;
}

/** The blocks and experts that are removed. */
interface RemovedParts {
  /** The similarity of each block of the dense model. Absent if no block is dropped. */
  readonly similarities?: readonly number[];
  readonly dropped: readonly number[];
  /** The experts of each block that is not dropped. Absent if no expert is removed. */
  readonly experts?: readonly (ExpertUse & { readonly kept: readonly number[] })[];
}

export interface ShrinkResult extends RemovedParts {
  /** The layers that lost columns, in the order of the model. Their names are those in the smaller model. */
  readonly layers: readonly LayerEntry[];
}

/** A smaller model that is written. */
export interface WrittenModel extends RemovedParts {
  /** The smaller model. It can be read until the files have their final names. */
  readonly model: Model;
  readonly run: PruneRun;
  readonly plan: WritePlan;
}

/**
 * Shrinks the model into the output folder, or continues the run of an earlier process. The blocks to drop and the
 * experts are chosen again then.
 * @throws the error that stopped the run, as `pruneIntoFolder` does
 */
export async function shrinkModel(job: ShrinkJob, services: ShrinkServices): Promise<ShrinkResult> {
  const blocks = await chooseBlocks(job, services);
  const remaining = withoutBlocks(job.checkpoint.config, job.model, new Set(blocks.dropped));
  const { experts, smaller } = await removeExperts(remaining, job, services);
  const removed = { ...blocks, experts };
  return {
    ...removed,
    layers: await pruneIntoFolder(folderJob(job, smaller, removed, services.fs), services),
  };
}

/** Returns a run with the sizes of the job, for a plan. The blocks and experts that it removes are the last ones. */
export async function rehearsedJob(job: ShrinkJob, fs: FileSystem): Promise<FolderJob> {
  return folderJob(job, await withoutLastParts(job, job.kept, job.blocks), { dropped: [] }, fs);
}

/** Returns the run that removes the columns. @param smaller the model without the removed blocks and experts */
function folderJob(job: ShrinkJob, smaller: RenamedModel, removed: RemovedParts, fs: FileSystem): FolderJob {
  const { model, nameOf } = smaller;
  const { config, spec, readers, cuts, infoOf } = smallerNetwork(job.kept, job, smaller);
  const plan = planLayout(job.checkpoint, fs, {
    config,
    tensors: model.weights,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap(({ name: old }) => {
        const name = nameOf(old);
        return name === undefined ? [] : [{ name, ...infoOf(name) }];
      }),
  });
  const layers = new Map(readers.map((reader) => [reader.name, reader]));
  return {
    ...job,
    model,
    layers,
    trainsAllWeights: true,
    queryOf(name) {
      const { group, share } = layers.get(name) ?? {};
      return {
        ...SHRINK_QUERY,
        column_group: group,
        sparsity: share,
        // No held-out windows choose the step of a layer with this pattern, but they decide whether it is taken.
        ...job.target === "dense" && { target_step: DEFAULT_TARGET_STEP },
      };
    },
    planOutput: (layers) => shrunkOutput({ plan, cuts, model, spec, layers }),
    reportFiles: (run, model) => job.reportFiles({ ...removed, model, run, plan }),
  };
}

async function chooseBlocks(
  { checkpoint, model, windows, blocks }: ShrinkJob,
  { backend, signal, onSimilarityStep }: ShrinkServices,
): Promise<Omit<RemovedParts, "experts">> {
  if (blocks === 0) return { dropped: [] };
  requireBlocks(model.spec.blockCount, blocks);
  configWithoutBlocks(checkpoint.config, new Set([0])); // throws before the long pass if no block can be dropped
  const similarities = await blockSimilarities(model, backend, windows, (done, total) => {
    signal?.throwIfAborted();
    onSimilarityStep?.(done, total);
  });
  return { similarities, dropped: mostSimilarBlocks(similarities, blocks) };
}

/** Chooses experts, and removes the others from the model. */
async function removeExperts(
  dense: RenamedModel,
  { windows, kept: { experts: count } }: ShrinkJob,
  { backend, signal, onExpertStep }: ShrinkServices,
): Promise<Pick<RemovedParts, "experts"> & { readonly smaller: RenamedModel }> {
  if (count === undefined) return { smaller: dense };
  const uses = await measureExperts(dense.model, backend, windows, (done, total) => {
    signal?.throwIfAborted();
    onExpertStep?.(done, total);
  });
  const experts = uses.map((use) => ({ ...use, kept: bestExperts(use.scores, count) }));
  const smaller = await withoutExperts(dense.config, dense.model, experts.map(({ kept }) => kept));
  const nameOf = (name: string) => {
    const renamed = dense.nameOf(name);
    return renamed === undefined ? undefined : smaller.nameOf(renamed);
  };
  return { experts, smaller: { ...smaller, nameOf } };
}
