/** Writes a copy of a checkpoint in which all linear layers of the blocks are codes. Existing codes are taken over. */

import { ModelError } from "../../base/files/file_error.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { codesOf } from "../formats/checkpoint/dense_checkpoint.ts";
import { planQuantized } from "../formats/checkpoint/plan_quantized.ts";
import {
  GROUP_SIZES,
  packTensors,
  unloadableReason,
  type WeightShape,
  type WrittenFormat,
} from "../formats/format.ts";
import { storedFormat } from "../formats/formats.ts";
import { checkTensor } from "../checkpoint/tensor_source.ts";
import { countWeightFileBytes } from "../checkpoint/weight_files.ts";
import { openCopy } from "../checkpoint/write/open_copy.ts";
import { blocksOf } from "../families/family.ts";
import { storedShape } from "../layer_specs.ts";
import type { Model, ModelFolder } from "../model.ts";
import { denseModules } from "../module_names.ts";
import { chooseGrid, nearestCodes, type SymmetricGrid } from "./symmetric_codes.ts";

export interface PackedOptions {
  readonly format: WrittenFormat;
  /** Whether weights without codes that fit the format are rounded to nearest. Otherwise they are an error. */
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
 * @throws {ModelError} if the checkpoint has the format already, if the format has no place for a layer, or if a layer
 * has no codes that fit the format and `round` is not set. The message names the layer and the options that would fit
 */
export async function writePacked(
  { checkpoint, model }: Pick<ModelFolder, "checkpoint" | "model">,
  folder: string,
  fs: WorkFileSystem,
  { format, round, signal, progress, rewriteFiles }: PackedOptions,
): Promise<PackedResult> {
  if (storedFormat(checkpoint) === format) {
    throw new ModelError(`${checkpoint.folder}: is in the format ${format.name} already`);
  }
  const weights = packedWeights(checkpoint.folder, model, format);
  const { grid, exact, misfits } = await chooseGrid(checkpoint, weights, format.writer.bits);
  for (const [name, reason] of misfits) {
    if (!round) throw misfitError(checkpoint.folder, name, reason, format);
  }
  const symmetric = { ...grid, symmetric: true }, names = new Set(weights.map(({ name }) => name));
  const gridded = weights.map(({ name }) => ({ name, grid: symmetric }));
  const ignore = denseModules(model.spec, (name) => names.has(name));
  const { plan } = planQuantized(checkpoint, fs, format, gridded, ignore);
  const bytes = countWeightFileBytes(plan.weightFiles), extras = await rewriteFiles?.(bytes) ?? new Map();
  const copy = await openCopy(plan, folder, fs, { overwrite: true, extraFiles: [...extras.keys()] });
  try {
    for (const [index, weight] of weights.entries()) {
      signal?.throwIfAborted();
      const codes = misfits.has(weight.name)
        ? await nearestCodes(checkpoint, weight, grid)
        : await codesOf(checkpoint, weight.name)!.inGroups(grid.groupSize);
      const tensors = packTensors(format.writer, { ...weight, ...symmetric }, codes);
      for (const [name, tensor] of tensors) await copy.replace(name, tensor);
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

/**
 * Returns the weights of all linear layers in the blocks.
 * @param folder the folder of the checkpoint, for messages
 * @throws {ModelError} if the format has no place for a layer
 */
export function packedWeights(
  folder: string,
  { spec, weights }: Model,
  format: WrittenFormat,
): WeightShape[] {
  const { name: formatName, writer: { scaleDtype } } = format, smallest = Math.min(...GROUP_SIZES);
  return blocksOf(spec).flatMap((block, index) =>
    block.groups.flat().map((linear) => {
      const { inFeatures: cols, outFeatures: rows } = linear;
      const name = `${block.prefix(index)}${linear.name}.weight`;
      const weight = { name, rows, cols, dtype: checkTensor(weights, name, storedShape(linear)) };
      const reason = unloadableReason(linear, format) ??
        (cols % smallest !== 0
          ? `has rows of ${cols} weights, but ${formatName} needs a multiple of ${smallest}`
          : weight.dtype === "BF16" && scaleDtype === undefined
          ? `is in BF16, in which ${formatName} would round the scales, which are numbers in F16`
          : undefined);
      if (reason !== undefined) throw new ModelError(`${folder}: ${name} ${reason}`);
      return weight;
    })
  );
}

function misfitError(
  folder: string,
  weight: string,
  reason: string,
  { name, writer: { bits } }: WrittenFormat,
): ModelError {
  const sizes = GROUP_SIZES.toReversed();
  return new ModelError(
    `${folder}: ${weight} ${reason}. ${name} holds codes of ${
      bits.join(" or ")
    } bits, symmetric, in groups of ${
      sizes.join(", ")
    }, the same for all layers, with scales in F16: prune with ` +
      `--format ${name} --bits ${bits[0]} --group-size ${sizes[0]} --symmetric, or add --round nearest`,
  );
}
