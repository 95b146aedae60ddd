/** Plans a checkpoint in which some weights are stored as codes. All other tensors are copied bit for bit. */

import type { FileSystem } from "../../../base/files/file_system.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { isFloatDtype } from "../../../tensor/dtype.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { planLayout, type WritePlan } from "../../checkpoint/write/write_plan.ts";
import { QUANTIZATION_KEY } from "../config/quantization_config.ts";
import { type CodedWeight, type FormatWriter, type StoredWeight, unstorableReason } from "../format.ts";
import { PACK_QUANTIZED_FORMAT, packedWeight } from "../pack_quantized.ts";

/**
 * Plans a copy of `checkpoint` in which a format stores the `weights`, whose tensors must be written by `OpenCopy.replace`.
 * @param ignore the names of the modules of the linear layers that are not quantised, such as `lm_head`
 */
export function planFormat(
  checkpoint: Checkpoint,
  fs: FileSystem,
  { specs, describe }: FormatWriter,
  weights: readonly CodedWeight[],
  ignore: readonly string[],
): WritePlan {
  const byName = new Map(weights.map((weight) => [weight.name, weight]));
  return planLayout(checkpoint, fs, {
    tensors: checkpoint,
    config: { ...checkpoint.config, [QUANTIZATION_KEY]: describe(weights, ignore) },
    tensorsOf: ({ header }) =>
      header.tensors.flatMap((info) => {
        const weight = byName.get(info.name);
        return weight ? specs(weight) : [info];
      }),
  });
}

/**
 * Plans a copy in the format `pack-quantized`, as {@link planFormat} does.
 * @param weights the names of the weights, and their grids
 * @returns the plan, and by the name of each weight the tensors that store it
 * @throws {ModelError} if a weight does not exist, or if the format cannot store it
 */
export function planQuantized(
  checkpoint: Checkpoint,
  fs: FileSystem,
  weights: readonly { readonly name: string; readonly grid: GridOptions }[],
  ignore: readonly string[],
): { readonly plan: WritePlan; readonly stored: ReadonlyMap<string, StoredWeight> } {
  const coded = weights.map(({ name, grid }) => codedWeight(checkpoint, name, grid));
  const stored = new Map(coded.map((weight) => [weight.name, packedWeight(weight)]));
  return { plan: planFormat(checkpoint, fs, PACK_QUANTIZED_FORMAT.writer, coded, ignore), stored };
}

function codedWeight(checkpoint: Checkpoint, name: string, grid: GridOptions): CodedWeight {
  const { dtype, shape } = checkpoint.info(name), { folder } = checkpoint;
  if (!isFloatDtype(dtype) || shape.length !== 2) {
    throw new ModelError(
      `${folder}: cannot quantise ${name}: needs a 2-D float weight, got ${dtype} [${shape}]`,
    );
  }
  const [rows, cols] = shape, weight = { ...grid, name, rows, cols, dtype };
  const reason = unstorableReason(PACK_QUANTIZED_FORMAT, weight);
  if (reason !== undefined) throw new ModelError(`${folder}: ${name}: ${reason}`);
  return weight;
}
