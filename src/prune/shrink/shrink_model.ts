/**
 * Makes a model smaller: drops whole blocks, and removes neurons of the feed-forward networks. The neurons of a block
 * are chosen by the error of the layer that reads them. Its other weights compensate for the removed ones
 * (`layer/solvers/obc_columns.ts`). `pruneModel` calibrates each block with the outputs of the smaller blocks before
 * it. The result is an ordinary checkpoint of its family.
 */

import { ModelError } from "../../base/files/file_error.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import type { LayerEvent } from "../../client/model_pruner.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { readTensor } from "../../model/checkpoint/tensor_source.ts";
import { type OpenCopy, openCopy } from "../../model/checkpoint/write/open_copy.ts";
import { planLayout, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { takeColumns, takeRows } from "../../tensor/columns.ts";
import { linearLayers, type SizedLayer } from "../block_plan.ts";
import { MODEL_CARD_FILE, REPORT_PAGE_FILE } from "../report/file_names.ts";
import type { Destination, PruneServices } from "../run/job.ts";
import { pruneModel } from "../run/prune_model.ts";
import { blockSimilarities, mostSimilarBlocks } from "./block_similarity.ts";
import { maskedColumns } from "./masked_columns.ts";
import { type FeedForwardNames, feedForwardNames } from "./shrinkable_families.ts";
import { withoutBlocks } from "./without_blocks.ts";

/** How a model is shrunk. */
export interface ShrinkJob {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** The calibration windows as token ids, all of one length, and held-out ones, as in `PruneJob`. */
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The number of neurons that each block keeps, or undefined if it keeps all. */
  readonly width?: number;
  /** The number of blocks to drop. */
  readonly blocks: number;
  readonly out: string;
  /** Whether a checkpoint in the output folder may be replaced. */
  readonly overwrite?: boolean;
  readonly reportFileNames: readonly string[];
  /** Returns the texts of the report files, by file name. */
  reportFiles(result: ShrinkResult): Promise<ReadonlyMap<string, string>>;
}

export interface ShrinkServices extends PruneServices {
  readonly fs: WorkFileSystem;
  /** Called after each step of the pass that compares the blocks. */
  onSimilarityStep?(done: number, total: number): void;
}

export interface ShrinkResult {
  /** The smaller model. It can be read until the files have their final names. */
  readonly model: Model;
  /** The similarity of each block of the dense model. Absent if no block is dropped. */
  readonly similarities?: readonly number[];
  readonly dropped: readonly number[];
  /** The layers that lost columns, in the order of the model. Their names are those in the smaller model. */
  readonly layers: readonly LayerEvent[];
  readonly plan: WritePlan;
}

/** Returns the layer of each block whose inputs are the neurons. @throws {ModelError} if the family cannot be shrunk */
export function neuronReaders({ config }: Pick<Checkpoint, "config">, spec: ModelSpec): SizedLayer[] {
  const { reader } = feedForwardNames(config);
  return linearLayers(spec).filter(({ linear }) => linear.name === reader);
}

/** Shrinks the model into the output folder. @throws the error that stopped the run, after all files are removed */
export async function shrinkModel(job: ShrinkJob, services: ShrinkServices): Promise<ShrinkResult> {
  const { checkpoint, width, out, overwrite, reportFileNames: extraFiles } = job, { fs, signal } = services;
  const names = feedForwardNames(checkpoint.config);
  const { similarities, dropped } = await chooseBlocks(job, services);
  const smaller = withoutBlocks(checkpoint, job.model, new Set(dropped));
  const config = width === undefined ? smaller.config : { ...smaller.config, [names.setting]: width };
  const shapes = newShapes(smaller.model.spec, names, width);
  const layout = planLayout(checkpoint, fs, {
    config,
    tensors: smaller.model.weights,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap(({ name, dtype, shape }) => {
        const renamed = smaller.nameOf(name);
        return renamed === undefined ? [] : [{ name: renamed, dtype, shape: shapes.get(renamed) ?? shape }];
      }),
  });
  // The page and the card of an earlier run describe another model.
  const plan = { ...layout, leftOut: [REPORT_PAGE_FILE, MODEL_CARD_FILE] };
  const copy = await openCopy(plan, out, fs, { overwrite, extraFiles });
  try {
    const layers = width === undefined ? [] : await removeNeurons(job, services, smaller.model, width, copy);
    const weights = copy.tensors,
      model = { spec: readModelSpec(config, (name) => weights.has(name)), weights };
    const result = { model, similarities, dropped, layers, plan };
    const complete = await copy.complete({ makeExtras: () => job.reportFiles(result), signal });
    await complete.publish();
    return result;
  } catch (error) {
    await copy.abort();
    throw error;
  }
}

async function chooseBlocks(
  { model, windows, blocks }: ShrinkJob,
  { backend, signal, onSimilarityStep }: ShrinkServices,
): Promise<Pick<ShrinkResult, "similarities" | "dropped">> {
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

/** Returns the new shapes of the tensors that lose neurons, by name. There are none without a width. */
function newShapes(spec: ModelSpec, names: FeedForwardNames, width?: number): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  if (width === undefined) return shapes;
  for (const { name, linear, rows, cols } of linearLayers(spec)) {
    if (linear.name === names.reader) shapes.set(name, [rows, width]);
    for (const tensor of tensorsOfWriter({ name, linear }, names)) {
      shapes.set(tensor, tensor === name ? [width, cols] : [width]);
    }
  }
  return shapes;
}

/** Returns the names of the weight and the bias of a layer if its outputs are neurons, and otherwise none. */
function tensorsOfWriter(
  { name, linear }: Pick<SizedLayer, "name" | "linear">,
  { writers }: FeedForwardNames,
): string[] {
  if (!writers.includes(linear.name)) return [];
  return [name, ...linear.bias ? [name.replace(/weight$/, "bias")] : []];
}

/** Removes neurons in all blocks, and writes the smaller layers to the copy. */
async function removeNeurons(
  { checkpoint, windows, validationWindows }: ShrinkJob,
  services: ShrinkServices,
  model: Model,
  width: number,
  copy: OpenCopy,
): Promise<LayerEvent[]> {
  const names = feedForwardNames(checkpoint.config), readers = neuronReaders(checkpoint, model.spec);
  const blocks = new Map(readers.map(({ name, block }) => [name, block])),
    kept = new Map<string, Uint32Array>();
  const query: LayerQuery = { method: "obc", pattern: "columns", sparsity: 1 - width / readers[0].cols };
  const destination: Destination<LayerEvent[]> = {
    async fill(prune) {
      const events: LayerEvent[] = [];
      await prune({
        wrap: (source) => maskedColumns(source, (name, columns) => void kept.set(name, columns)),
        async replace(name, weight) {
          const columns = kept.get(name)!, block = blocks.get(name);
          await copy.replace(name, takeColumns(weight, columns));
          for (const writer of linearLayers(model.spec).filter((layer) => layer.block === block)) {
            for (const tensor of tensorsOfWriter(writer, names)) {
              await copy.replace(tensor, takeRows(await readTensor(model.weights, tensor), columns));
            }
          }
        },
        record: (event) => Promise.resolve(void events.push(event)),
      });
      return events;
    },
  };
  const job = { model, windows, validationWindows, layers: blocks, queryOf: () => query, destination };
  return await pruneModel(job, services);
}
