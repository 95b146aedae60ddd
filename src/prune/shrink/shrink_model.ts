/**
 * Makes a model smaller: drops whole blocks, and removes experts, heads, and neurons of the feed-forward networks. The
 * experts are chosen by scores (`expert_scores.ts`). The heads and the neurons of a block are chosen by the error of the
 * layer that reads them. Its other weights compensate for the removed ones (`layer/solvers/obc_columns.ts`).
 * `pruneModel` calibrates each block with the outputs of the smaller blocks before it. The result is an ordinary
 * checkpoint of its family.
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
import { bestExperts, type ExpertUse, measureExperts } from "./expert_scores.ts";
import { maskedColumns } from "./masked_columns.ts";
import type { RenamedModel } from "./renamed_model.ts";
import {
  keptSettings,
  type KeptUnits,
  type ReadingLayer,
  readingLayers,
} from "./units.ts";
import { withoutBlocks } from "./without_blocks.ts";
import { withoutExperts } from "./without_experts.ts";

/** How a model is shrunk. */
export interface ShrinkJob {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** The calibration windows as token ids, all of one length, and held-out ones, as in `PruneJob`. */
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  readonly kept: KeptUnits;
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
  /** Called after each step of the pass that scores the experts. */
  onExpertStep?(done: number, total: number): void;
}

export interface ShrinkResult {
  /** The smaller model. It can be read until the files have their final names. */
  readonly model: Model;
  /** The similarity of each block of the dense model. Absent if no block is dropped. */
  readonly similarities?: readonly number[];
  readonly dropped: readonly number[];
  /** The experts of each block that is not dropped. Absent if no expert is removed. */
  readonly experts?: readonly (ExpertUse & { readonly kept: readonly number[] })[];
  /** The layers that lost columns, in the order of the model. Their names are those in the smaller model. */
  readonly layers: readonly LayerEvent[];
  readonly plan: WritePlan;
}

/** Shrinks the model into the output folder. @throws the error that stopped the run, after all files are removed */
export async function shrinkModel(job: ShrinkJob, services: ShrinkServices): Promise<ShrinkResult> {
  const { checkpoint, kept, out, overwrite, reportFileNames: extraFiles } = job, { fs, signal } = services;
  const settings = keptSettings(kept, checkpoint.config, job.model.spec);
  const { similarities, dropped } = await chooseBlocks(job, services);
  const remaining = withoutBlocks(checkpoint.config, job.model, new Set(dropped));
  const { experts, smaller } = await removeExperts(remaining, job, services);
  const { model: { spec, weights: source } } = smaller, config = { ...smaller.config, ...settings };
  const readers = readingLayers(kept, checkpoint.config, spec), shapes = newShapes(spec, readers);
  const layout = planLayout(checkpoint, fs, {
    config,
    tensors: source,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap(({ name, dtype }) => {
        const renamed = smaller.nameOf(name);
        if (renamed === undefined) return [];
        return [{ name: renamed, dtype, shape: shapes.get(renamed) ?? source.info(renamed).shape }];
      }),
  });
  // The page and the card of an earlier run describe another model.
  const plan = { ...layout, leftOut: [REPORT_PAGE_FILE, MODEL_CARD_FILE] };
  const copy = await openCopy(plan, out, fs, { overwrite, extraFiles });
  try {
    const layers = readers.length > 0 ? await removeColumns(job, services, smaller.model, readers, copy) : [];
    const weights = copy.tensors,
      model = { spec: readModelSpec(config, (name) => weights.has(name)), weights };
    const result = { model, similarities, dropped, experts, layers, plan };
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

/** Chooses experts, and removes the others from the model. */
async function removeExperts(
  dense: RenamedModel,
  { windows, kept: { experts: count } }: ShrinkJob,
  { backend, signal, onExpertStep }: ShrinkServices,
): Promise<Pick<ShrinkResult, "experts"> & { readonly smaller: RenamedModel }> {
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

/** Returns the new shapes of the tensors that lose columns or rows, by name. */
function newShapes(spec: ModelSpec, readers: readonly ReadingLayer[]): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const reader of readers) {
    const remaining = (size: number) => size - Math.round(reader.share * size);
    shapes.set(reader.name, [reader.rows, remaining(reader.cols)]);
    for (const writer of writersOf(spec, reader)) {
      for (const tensor of tensorsOf(writer)) {
        shapes.set(
          tensor,
          tensor === writer.name ? [remaining(writer.rows), writer.cols] : [remaining(writer.rows)],
        );
      }
    }
  }
  return shapes;
}

function writersOf(spec: ModelSpec, { block, writers }: ReadingLayer): SizedLayer[] {
  return linearLayers(spec).filter((layer) => layer.block === block && writers.includes(layer.linear.name));
}

/** Returns the names of the weight and the bias of a layer. */
function tensorsOf({ name, linear }: SizedLayer): string[] {
  return [name, ...linear.bias ? [name.replace(/weight$/, "bias")] : []];
}

/** Removes columns of `readers` in all blocks, and writes the smaller layers to the copy. */
async function removeColumns(
  { windows, validationWindows }: ShrinkJob,
  services: ShrinkServices,
  model: Model,
  readers: readonly ReadingLayer[],
  copy: OpenCopy,
): Promise<LayerEvent[]> {
  const layers = new Map(readers.map((reader) => [reader.name, reader])),
    kept = new Map<string, Uint32Array>();
  const queryOf = (name: string): LayerQuery => {
    const { group, share } = layers.get(name)!;
    return { method: "obc", pattern: "columns", column_group: group, sparsity: share };
  };
  const destination: Destination<LayerEvent[]> = {
    async fill(prune) {
      const events: LayerEvent[] = [];
      await prune({
        wrap: (source) => maskedColumns(source, (name, columns) => void kept.set(name, columns)),
        async replace(name, weight) {
          const reader = layers.get(name)!, columns = kept.get(name)!;
          await copy.replace(name, takeColumns(weight, columns));
          for (const writer of writersOf(model.spec, reader)) {
            const rows = rowsOfWriter(reader, columns, writer.rows);
            for (const tensor of tensorsOf(writer)) {
              await copy.replace(tensor, takeRows(await readTensor(model.weights, tensor), rows));
            }
          }
        },
        record: (event) => Promise.resolve(void events.push(event)),
      });
      return events;
    },
  };
  const job = { model, windows, validationWindows, layers, queryOf, destination };
  return await pruneModel(job, services);
}

/**
 * Returns the rows of a writer that remain if the reader keeps `columns`. The columns that are removed together belong
 * to equally many rows, for example to those of one key head, which are fewer than those of its query heads.
 */
function rowsOfWriter({ cols, group }: ReadingLayer, columns: Uint32Array, writerRows: number): number[] {
  const rows = writerRows * group / cols;
  return Array.from(columns.filter((column) => column % group === 0)).flatMap((column) =>
    Array.from({ length: rows }, (_, row) => column / group * rows + row)
  );
}
