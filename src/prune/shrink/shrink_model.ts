/**
 * Makes a model smaller: drops whole blocks, and removes neurons of the feed-forward networks. The neurons of a block
 * are chosen by the error of the layer that reads them. Its other weights compensate for the removed ones
 * (`layer/solvers/obc_columns.ts`). `pruneModel` calibrates each block with the outputs of the smaller blocks before
 * it. The result is an ordinary checkpoint of its family.
 */

import { ModelError } from "../../base/files/file_error.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_TARGET_STEP } from "../../protocol/limits.ts";
import { linearLayers, type SizedLayer } from "../block_plan.ts";
import { MODEL_CARD_FILE, REPORT_PAGE_FILE } from "../report/file_names.ts";
import { type FolderJob, type FolderServices, pruneIntoFolder } from "../run/folder_destination.ts";
import type { PruneJob } from "../run/job.ts";
import type { LayerEntry } from "../run/journal.ts";
import type { PruneRun } from "../run/prune_run.ts";
import { blockSimilarities, mostSimilarBlocks } from "./block_similarity.ts";
import { feedForwardNames } from "./shrinkable_families.ts";
import { type Cut, neuronCuts, shrunkOutput } from "./shrunk_output.ts";
import { withoutBlocks } from "./without_blocks.ts";

/** The parameters of the layers that lose columns, without the share of the columns. */
export const SHRINK_QUERY: LayerQuery = { method: "obc", pattern: "columns" };

/** How a model is shrunk. */
export interface ShrinkJob extends
  Pick<PruneJob, "target" | "reconstruct">,
  Pick<
    FolderJob,
    "checkpoint" | "model" | "out" | "overwrite" | "restart" | "fingerprint" | "loadSeconds"
  > {
  /** The calibration windows as token ids, all of one length, and held-out ones, as in `PruneJob`. */
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The number of neurons that each block keeps, or undefined if it keeps all. */
  readonly width?: number;
  /** The number of blocks to drop. */
  readonly blocks: number;
  readonly reportFileNames: readonly string[];
  /** Returns the texts of the report files, by file name. */
  reportFiles(written: WrittenModel): Promise<ReadonlyMap<string, string>>;
}

export interface ShrinkServices extends FolderServices {
  /** Called after each step of the pass that compares the blocks. */
  onSimilarityStep?(done: number, total: number): void;
}

/** The blocks that are dropped. */
interface DroppedBlocks {
  /** The similarity of each block of the dense model. Absent if no block is dropped. */
  readonly similarities?: readonly number[];
  readonly dropped: readonly number[];
}

export interface ShrinkResult extends DroppedBlocks {
  /** The layers that lost columns, in the order of the model. Their names are those in the smaller model. */
  readonly layers: readonly LayerEntry[];
}

/** A smaller model that is written. */
export interface WrittenModel extends DroppedBlocks {
  /** The smaller model. It can be read until the files have their final names. */
  readonly model: Model;
  readonly run: PruneRun;
  readonly plan: WritePlan;
}

/** Returns the layer of each block whose inputs are the neurons. @throws {ModelError} if the family cannot be shrunk */
export function neuronReaders({ config }: Pick<Checkpoint, "config">, spec: ModelSpec): SizedLayer[] {
  const { reader } = feedForwardNames(config);
  return linearLayers(spec).filter(({ linear }) => linear.name === reader);
}

/**
 * Shrinks the model into the output folder, or continues the run of an earlier process. The blocks to drop are chosen
 * again then.
 * @throws the error that stopped the run, as `pruneIntoFolder` does
 */
export async function shrinkModel(job: ShrinkJob, services: ShrinkServices): Promise<ShrinkResult> {
  const { checkpoint, width } = job, names = feedForwardNames(checkpoint.config);
  const { similarities, dropped } = await chooseBlocks(job, services);
  const { model, config: withBlocks, nameOf } = withoutBlocks(checkpoint, job.model, new Set(dropped));
  const config = width === undefined ? withBlocks : { ...withBlocks, [names.setting]: width };
  const cuts = width === undefined ? new Map<string, Cut>() : neuronCuts(model.spec, names);
  const layout = planLayout(checkpoint, services.fs, {
    config,
    tensors: model.weights,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap(({ name: old, dtype, shape }) => {
        const name = nameOf(old);
        return name === undefined ? [] : [{ name, dtype, shape: cutShape(shape, cuts.get(name), width!) }];
      }),
  });
  // The page and the card of an earlier run describe another model.
  const plan = { ...layout, leftOut: [REPORT_PAGE_FILE, MODEL_CARD_FILE] };
  const spec = readModelSpec(config, (name) => model.weights.has(name));
  const layers = new Set([...cuts.values()].map(({ reader }) => reader));
  const sparsity = width && 1 - width / neuronReaders(checkpoint, model.spec)[0].cols;
  const entries = await pruneIntoFolder({
    ...job,
    model,
    layers,
    trainsAllWeights: true,
    // No held-out windows choose the step of a layer with this pattern, but they decide whether it is taken.
    queryOf: () => ({
      ...SHRINK_QUERY,
      sparsity,
      ...job.target === "dense" && { target_step: DEFAULT_TARGET_STEP },
    }),
    planOutput: (layers) => shrunkOutput({ plan, cuts, model, spec, layers }),
    reportFiles: (run, model) => job.reportFiles({ model, similarities, dropped, run, plan }),
  }, services);
  return { similarities, dropped, layers: entries };
}

/** Returns the shape of a tensor of which `width` rows or columns remain. */
function cutShape(
  [rows, ...others]: readonly number[],
  cut: Cut | undefined,
  width: number,
): readonly number[] {
  if (!cut) return [rows, ...others];
  return cut.axis === "rows" ? [width, ...others] : [rows, width];
}

async function chooseBlocks(
  { model, windows, blocks }: ShrinkJob,
  { backend, signal, onSimilarityStep }: ShrinkServices,
): Promise<DroppedBlocks> {
  if (blocks === 0) return { dropped: [] };
  if (blocks >= model.spec.blockCount) {
    throw new ModelError(`the model has ${model.spec.blockCount} blocks, so ${blocks} cannot be dropped`);
  }
  const similarities = await blockSimilarities(model, backend, windows, (done, total) => {
    signal?.throwIfAborted();
    onSimilarityStep?.(done, total);
  });
  return { similarities, dropped: mostSimilarBlocks(similarities, blocks) };
}
