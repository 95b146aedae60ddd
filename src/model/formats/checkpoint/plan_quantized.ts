/** Plans a checkpoint in which some weights are stored as codes. All other tensors are copied bit for bit. */

import type { FileSystem } from "../../../base/files/file_system.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { isFloatDtype } from "../../../tensor/dtype.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { planLayout, type WritePlan } from "../../checkpoint/write/write_plan.ts";
import { QUANTIZATION_KEY } from "../config/quantization_config.ts";
import { type CodedWeight, type StoredWeight, unstorableReason, type WrittenFormat } from "../format.ts";

/**
 * Plans a copy of `checkpoint` in which a format stores some weights, whose tensors must be written by `OpenCopy.replace`.
 * @param weights the names of the weights, and their grids
 * @param ignore the names of the modules of the linear layers that are not quantised, such as `lm_head`
 * @returns the plan, and by the name of each weight how its tensors are read
 * @throws {ModelError} if a weight does not exist, or if the format cannot store it
 */
export function planQuantized(
  checkpoint: Checkpoint,
  fs: FileSystem,
  format: WrittenFormat,
  weights: readonly { readonly name: string; readonly grid: GridOptions }[],
  ignore: readonly string[],
): { readonly plan: WritePlan; readonly stored: ReadonlyMap<string, StoredWeight> } {
  const { specs, describe, stored, configKey = QUANTIZATION_KEY } = format.writer;
  const coded = weights.map(({ name, grid }) => codedWeight(checkpoint, format, name, grid));
  const byName = new Map(coded.map((weight) => [weight.name, weight]));
  const plan = planLayout(checkpoint, fs, {
    tensors: checkpoint,
    config: { ...checkpoint.config, [configKey]: describe(coded, ignore) },
    tensorsOf: ({ header }) =>
      header.tensors.flatMap((info) => {
        const weight = byName.get(info.name);
        return weight ? specs(weight) : [info];
      }),
  });
  return { plan, stored: new Map(coded.map((weight) => [weight.name, stored(weight)])) };
}

function codedWeight(
  checkpoint: Checkpoint,
  format: WrittenFormat,
  name: string,
  grid: GridOptions,
): CodedWeight {
  const { dtype, shape } = checkpoint.info(name), { folder } = checkpoint;
  if (!isFloatDtype(dtype) || shape.length !== 2) {
    throw new ModelError(
      `${folder}: cannot quantise ${name}: needs a 2-D float weight, got ${dtype} [${shape}]`,
    );
  }
  const [rows, cols] = shape, weight = { ...grid, name, rows, cols, dtype };
  const reason = unstorableReason(format, weight);
  if (reason !== undefined) throw new ModelError(`${folder}: ${name}: ${reason}`);
  return weight;
}
