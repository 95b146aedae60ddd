/** Writes quantised checkpoints for tests, together with the dense weights that they stand for. */

import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openCopy } from "../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../src/model/checkpoint/write/write_plan.ts";
import { quantizedNames, stemOf } from "../../src/model/checkpoint/quantized/layout.ts";
import { type PackedWeight, packWeight } from "../../src/model/checkpoint/quantized/pack_weight.ts";
import { planQuantized } from "../../src/model/checkpoint/quantized/plan_quantized.ts";
import { openModel } from "../../src/model/model.ts";
import { denseModules, moduleName } from "../../src/model/module_names.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../../src/tensor/host_tensor.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { quantize } from "./quantized_weights.ts";
import { uniform } from "./random.ts";

/** A quantised weight with its grid, and with the dtype of the checkpoint. */
export interface GriddedWeight {
  readonly quantized: QuantizedWeight;
  readonly grid: GridOptions;
  readonly dtype: FloatDtype;
}

/** Packs a weight and names its tensors as they are named in a checkpoint. */
export function packNamed(
  name: string,
  { quantized, grid, dtype }: GriddedWeight,
): { readonly packed: PackedWeight; readonly tensors: ReadonlyMap<string, HostTensor> } {
  const packed = packWeight(quantized, grid, dtype), names = quantizedNames(stemOf(name));
  const tensors = Object.entries(packed.tensors) as [keyof typeof names, HostTensor][];
  return { packed, tensors: new Map(tensors.map(([part, tensor]) => [names[part], tensor])) };
}

/** Copies the dense checkpoint in `source` to `target`, with the given `weights` in the layout `pack-quantized`. */
export async function writeQuantizedFolder(
  source: string,
  target: string,
  weights: Readonly<Record<string, GriddedWeight>>,
  ignore: readonly string[] = ["lm_head"],
): Promise<void> {
  const checkpoint = await openCheckpoint(source, denoFileSystem);
  try {
    const planned = Object.entries(weights).map(([name, { grid }]) => (
      { name, grid, module: moduleName(stemOf(name)) }
    ));
    const { plan } = planQuantized(checkpoint, denoFileSystem, planned, ignore);
    const copy = await openCopy(plan, target, denoFileSystem);
    try {
      for (const [name, weight] of Object.entries(weights)) {
        for (const [part, tensor] of packNamed(name, weight).tensors) await copy.replace(part, tensor);
      }
      await (await copy.complete()).publish();
    } catch (error) {
      await copy.abort();
      throw error;
    }
  } finally {
    await checkpoint.close();
  }
}

/** Returns the grid of a layer, or undefined if the layer stays dense. */
export type GridOf = (name: string) => GridOptions | undefined;

/** The folders of a dense and a quantised copy of a model. */
export interface QuantizedModel {
  readonly dense: string;
  readonly quantized: string;
  /** The number of zeros of each quantised weight. */
  readonly zeros: Readonly<Record<string, number>>;
  /** The length of the ignore list, which contains the head and the layers of the blocks that stay dense. */
  readonly ignored: number;
}

/**
 * Sets about half of the weights of the model in `source` to zero and rounds the others to grids. Writes a dense copy of the result
 * to `${target} dense` and a quantised copy to `${target} quantized`.
 */
export async function writeQuantizedModel(
  source: string,
  target: string,
  gridOf: GridOf,
): Promise<QuantizedModel> {
  const dense = `${target} dense`, quantized = `${target} quantized`;
  const weights: Record<string, GriddedWeight> = {}, zeros: Record<string, number> = {};
  const checkpoint = await openCheckpoint(source, denoFileSystem);
  try {
    const { spec } = openModel(checkpoint);
    const copy = await openCopy(planCopy(checkpoint), dense, denoFileSystem);
    for (const [index, { name }] of linearLayers(spec).entries()) {
      const grid = gridOf(name);
      if (!grid) continue;
      const { shape: [rows, cols], data, ...tensor } = await checkpoint.tensor(name);
      const dtype = tensor.dtype as FloatDtype, next = uniform(index);
      const pruned = Array.from({ length: rows * cols }, () => next() < 0.5);
      weights[name] = {
        quantized: quantize(bytesToFloats(data, dtype), [rows, cols], grid, (i) => pruned[i]),
        grid,
        dtype,
      };
      const { packed } = packNamed(name, weights[name]);
      await copy.replace(name, packed.dense);
      zeros[name] = bytesToFloats(packed.dense.data, dtype).filter((value) => value === 0).length;
      assert.ok(zeros[name] >= pruned.filter(Boolean).length);
    }
    await (await copy.complete()).publish();
    const ignore = denseModules(spec, (name) => name in weights);
    await writeQuantizedFolder(dense, quantized, weights, ignore);
    return { dense, quantized, zeros, ignored: ignore.length };
  } finally {
    await checkpoint.close();
  }
}
