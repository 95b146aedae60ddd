/** Writes a copy of a checkpoint in which all linear layers of the blocks are codes. Existing codes are taken over. */

import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem, WorkFileSystem } from "../../base/files/file_system.ts";
import { storedFormatName } from "../formats/formats.ts";
import { PACKED_BITS, stemOf } from "../formats/codes/packed_layout.ts";
import { checkTensor } from "../checkpoint/tensor_source.ts";
import { countWeightFileBytes } from "../checkpoint/weight_files.ts";
import { openCopy } from "../checkpoint/write/open_copy.ts";
import { planLayout, type WritePlan } from "../checkpoint/write/write_plan.ts";
import { blocksOf } from "../families/family.ts";
import { storedShape } from "../layer_specs.ts";
import type { Model, ModelFolder } from "../model.ts";
import { denseModules, moduleName } from "../module_names.ts";
import { chooseGrid, exactCodes, GROUP_SIZES, nearestCodes, type SymmetricGrid } from "./exact_codes.ts";
import { type PackedLayout, type PackedWeight, unloadableReason } from "./packed_layout.ts";

export interface PackedOptions {
  readonly layout: PackedLayout;
  /** Whether weights that are on no grid of the layout are rounded to nearest. Otherwise they are an error. */
  readonly round: boolean;
  readonly signal?: AbortSignal;
  /** Called after each layer. */
  progress?(done: number, total: number, name: string): void;
  /** Returns the texts of files that are written instead of copied, by name. @param bytes the bytes of the weight files */
  rewriteFiles?(bytes: number): Promise<ReadonlyMap<string, string>>;
}

export interface PackedResult {
  readonly grid: SymmetricGrid;
  /** The names of the weights that keep their values. */
  readonly exact: readonly string[];
  /** The names of the weights that were rounded to nearest. */
  readonly rounded: readonly string[];
  /** The bytes of the weight files. */
  readonly bytes: number;
}

/**
 * Writes the copy into `folder`, and replaces a checkpoint in it. If it fails, a checkpoint that was there is
 * unchanged. At most one layer is in memory at a time.
 * @throws {ModelError} if the checkpoint has the layout already, if the layout has no place for a layer, or if a layer
 * is on no grid of the layout and `round` is not set. The message names the layer and the options that would fit
 */
export async function writePacked(
  { checkpoint, model }: Pick<ModelFolder, "checkpoint" | "model">,
  folder: string,
  fs: WorkFileSystem,
  { layout, round, signal, progress, rewriteFiles }: PackedOptions,
): Promise<PackedResult> {
  if (storedFormatName(checkpoint) === layout.name) {
    throw new ModelError(`${checkpoint.folder}: is in the format ${layout.name} already`);
  }
  const weights = packedWeights(checkpoint.folder, model, layout);
  const { grid, exact, misfits } = await chooseGrid(model.weights, weights);
  for (const weight of weights) {
    const reason = misfits.get(weight.name);
    if (reason !== undefined && !round) throw misfitError(checkpoint.folder, weight.name, reason, layout);
  }
  const plan = planPacked({ checkpoint, model }, fs, layout, grid);
  const bytes = countWeightFileBytes(plan.weightFiles), extras = await rewriteFiles?.(bytes) ?? new Map();
  const copy = await openCopy(plan, folder, fs, { overwrite: true, extraFiles: [...extras.keys()] });
  try {
    for (const [index, weight] of weights.entries()) {
      signal?.throwIfAborted();
      const codes = misfits.has(weight.name)
        ? await nearestCodes(checkpoint, weight, grid)
        : await exactCodes(checkpoint, weight, grid);
      if (typeof codes === "string") throw new ModelError(`${checkpoint.folder}: ${weight.name} has changed`);
      for (const [name, tensor] of layout.pack(weight, grid, codes)) await copy.replace(name, tensor);
      progress?.(index + 1, weights.length, weight.name);
    }
    const complete = await copy.complete({ signal, makeExtras: () => Promise.resolve(extras) });
    await complete.publish();
  } catch (error) {
    await copy.abort();
    throw error;
  }
  return { grid, exact, rounded: [...misfits.keys()], bytes };
}

/** Plans a copy in which all linear layers of the blocks are codes on `grid`. @throws {ModelError} in the cases of {@link packedWeights} */
export function planPacked(
  { checkpoint, model }: Pick<ModelFolder, "checkpoint" | "model">,
  fs: FileSystem,
  layout: PackedLayout,
  grid: SymmetricGrid,
): WritePlan {
  const weights = packedWeights(checkpoint.folder, model, layout);
  const byName = new Map(weights.map((weight) => [weight.name, weight]));
  const ignore = denseModules(model.spec, (name) => byName.has(name));
  return planLayout(checkpoint, fs, {
    tensors: checkpoint,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap((info) => {
        const weight = byName.get(info.name);
        return weight ? layout.specs(weight, grid) : [info];
      }),
    config: layout.config(checkpoint.config, weights, grid, ignore),
  });
}

const SMALLEST_GROUP = Math.min(...GROUP_SIZES);

/**
 * Returns the weights of all linear layers in the blocks.
 * @param folder the folder of the checkpoint, for messages
 * @throws {ModelError} if the layout has no place for a layer
 */
export function packedWeights(
  folder: string,
  { spec, weights }: Model,
  layout: PackedLayout,
): PackedWeight[] {
  return blocksOf(spec).flatMap((block, index) =>
    block.groups.flat().map((linear) => {
      const { inFeatures: cols, outFeatures: rows } = linear;
      const name = `${block.prefix(index)}${linear.name}.weight`, stem = stemOf(name);
      const dtype = checkTensor(weights, name, storedShape(linear));
      const weight = { name, rows, cols, dtype, stem, module: moduleName(stem) };
      const reason = unloadableReason(linear, layout.name) ?? (cols % SMALLEST_GROUP !== 0
        ? `has rows of ${cols} weights, but ${layout.name} needs a multiple of ${SMALLEST_GROUP}`
        : layout.misfit(weight));
      if (reason !== undefined) throw new ModelError(`${folder}: ${name} ${reason}`);
      return weight;
    })
  );
}

function misfitError(folder: string, name: string, reason: string, { name: layout, options }: PackedLayout) {
  const bits = PACKED_BITS.join(" or "), sizes = GROUP_SIZES.toSorted((a, b) => a - b).join(", ");
  return new ModelError(
    `${folder}: ${name} ${reason}. ${layout} holds codes of ${bits} bits, symmetric, in groups of ${sizes}, the same for all layers, with ` +
      `scales in F16: prune with ${options}, or add --round nearest`,
  );
}
