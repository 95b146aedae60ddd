/** Writes a copy of a checkpoint in which all linear layers of the blocks are codes. Existing codes are taken over. */

import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem, WorkFileSystem } from "../../base/files/file_system.ts";
import { planFormat } from "../formats/checkpoint/plan_quantized.ts";
import { packTensors, unloadableReason, type WeightShape, type WrittenFormat } from "../formats/format.ts";
import { storedFormat, WEIGHT_FORMATS } from "../formats/formats.ts";
import { GROUP_SIZES } from "../formats/codes/packed_words.ts";
import { checkTensor } from "../checkpoint/tensor_source.ts";
import { countWeightFileBytes } from "../checkpoint/weight_files.ts";
import { openCopy } from "../checkpoint/write/open_copy.ts";
import type { WritePlan } from "../checkpoint/write/write_plan.ts";
import { blocksOf } from "../families/family.ts";
import { storedShape } from "../layer_specs.ts";
import type { Model, ModelFolder } from "../model.ts";
import { denseModules } from "../module_names.ts";
import { chooseGrid, exactCodes, nearestCodes, type SymmetricGrid } from "./exact_codes.ts";

export interface PackedOptions {
  readonly format: WrittenFormat;
  /** Whether weights that are on no grid of the format are rounded to nearest. Otherwise they are an error. */
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
 * is on no grid of the format and `round` is not set. The message names the layer and the options that would fit
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
  const weights = packedWeights(checkpoint.folder, model, format), { writer } = format;
  const { grid, exact, misfits } = await chooseGrid(model.weights, weights, writer);
  for (const weight of weights) {
    const reason = misfits.get(weight.name);
    if (reason !== undefined && !round) throw misfitError(checkpoint.folder, weight.name, reason, format);
  }
  const plan = planPacked({ checkpoint, model }, fs, format, grid);
  const bytes = countWeightFileBytes(plan.weightFiles), extras = await rewriteFiles?.(bytes) ?? new Map();
  const copy = await openCopy(plan, folder, fs, { overwrite: true, extraFiles: [...extras.keys()] });
  try {
    for (const [index, weight] of weights.entries()) {
      signal?.throwIfAborted();
      const codes = misfits.has(weight.name)
        ? await nearestCodes(checkpoint, weight, grid)
        : await exactCodes(checkpoint, weight, grid);
      if (typeof codes === "string") throw new ModelError(`${checkpoint.folder}: ${weight.name} has changed`);
      const zeros = new Uint8Array(codes.scales.length).fill(2 ** (grid.bits - 1));
      const tensors = packTensors(writer, { ...weight, ...grid, symmetric: true }, { ...codes, zeros });
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

/** Plans a copy in which all linear layers of the blocks are codes on `grid`. @throws {ModelError} in the cases of {@link packedWeights} */
export function planPacked(
  { checkpoint, model }: Pick<ModelFolder, "checkpoint" | "model">,
  fs: FileSystem,
  format: WrittenFormat,
  grid: SymmetricGrid,
): WritePlan {
  const weights = packedWeights(checkpoint.folder, model, format);
  const names = new Set(weights.map(({ name }) => name));
  const coded = weights.map((weight) => ({ ...weight, ...grid, symmetric: true }));
  return planFormat(
    checkpoint,
    fs,
    format.writer,
    coded,
    denseModules(model.spec, (name) => names.has(name)),
  );
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
  const { name: formatName, writer: { misfit, groupSizes = GROUP_SIZES } } = format;
  const smallest = Math.min(...groupSizes);
  return blocksOf(spec).flatMap((block, index) =>
    block.groups.flat().map((linear) => {
      const { inFeatures: cols, outFeatures: rows } = linear;
      const name = `${block.prefix(index)}${linear.name}.weight`;
      const weight = { name, rows, cols, dtype: checkTensor(weights, name, storedShape(linear)) };
      const reason = unloadableReason(linear, format) ?? (cols % smallest !== 0
        ? `has rows of ${cols} weights, but ${formatName} needs a multiple of ${smallest}`
        : misfit(weight));
      if (reason !== undefined) throw new ModelError(`${folder}: ${name} ${reason}`);
      return weight;
    })
  );
}

function misfitError(
  folder: string,
  weight: string,
  reason: string,
  { name, writer: { bits, groupSizes = GROUP_SIZES } }: WrittenFormat,
): ModelError {
  const sizes = groupSizes.toSorted((a, b) => a - b),
    isWrittenByRuns = WEIGHT_FORMATS.some((known) => known === name);
  const options = isWrittenByRuns
    ? `--format ${name} --bits ${bits[0]}`
    : `--for ${name}, which sets --bits ${bits[0]} --group-size ${
      sizes[0]
    } --symmetric, --scale-dtype and --format`;
  return new ModelError(
    `${folder}: ${weight} ${reason}. ${name} holds codes of ${
      bits.join(" or ")
    } bits, symmetric, in groups of ${
      sizes.join(", ")
    }, the same for all layers, with scales in F16: prune with ${options}, or add --round nearest`,
  );
}
