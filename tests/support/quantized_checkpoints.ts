/** Writes quantised checkpoints for tests, together with the dense weights that they stand for. */

import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openCopy } from "../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../src/model/checkpoint/write/write_plan.ts";
import { makeDenseConfig } from "../../src/model/formats/config/quantization_config.ts";
import { codesOf } from "../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { planQuantized } from "../../src/model/formats/checkpoint/plan_quantized.ts";
import { packWeight } from "../../src/model/formats/codes/pack_weight.ts";
import { PACK_QUANTIZED_FORMAT } from "../../src/model/formats/pack_quantized.ts";
import { openModel, openModelFolder } from "../../src/model/model.ts";
import { denseModules } from "../../src/model/module_names.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../../src/tensor/host_tensor.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { quantize } from "./quantized_weights.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

/** A quantised weight with its grid, and with the dtype of the checkpoint. */
export interface GriddedWeight {
  readonly quantized: QuantizedWeight;
  readonly grid: GridOptions;
  readonly dtype: FloatDtype;
}

/** Packs a weight: the tensors that store it, by name, and the dense weight that they stand for. */
export function packNamed(name: string, { quantized, grid, dtype }: GriddedWeight) {
  return packWeight(PACK_QUANTIZED_FORMAT, { ...grid, name, dtype }, quantized);
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
    const planned = Object.entries(weights).map(([name, { grid }]) => ({ name, grid }));
    const { plan } = planQuantized(checkpoint, denoFileSystem, PACK_QUANTIZED_FORMAT, planned, ignore);
    const copy = await openCopy(plan, target, denoFileSystem);
    try {
      for (const [name, weight] of Object.entries(weights)) {
        for (const [part, tensor] of packNamed(name, weight).tensors) {
          await copy.replace(part, tensor);
        }
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
      const { dense } = packNamed(name, weights[name]);
      await copy.replace(name, dense);
      zeros[name] = bytesToFloats(dense.data, dtype).filter((value) => value === 0).length;
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

/** A packed weight as integers: an entry of the weight is its integer times its scale. All lists are in the order of the checkpoint. */
export interface PackedIntegers {
  readonly integers: readonly number[];
  readonly scales: readonly number[];
  readonly cols: number;
}

/** Reads a weight with codes of the model in `folder`. The integers are the differences of the codes from their zeros. */
export async function integersOf(folder: string, name: string): Promise<PackedIntegers> {
  await using opened = await openModelFolder(folder, denoFileSystem);
  const stored = codesOf(opened.model.weights, name)!,
    { cols, groupSize } = stored,
    group = groupSize || cols;
  const { codes, scales, zeros } = await stored.inGroups(group);
  return {
    integers: Array.from(codes, (code, i) => code - zeros[Math.floor(i / group)]),
    scales: Array.from(codes, (_, i) => scales[Math.floor(i / group)]),
    cols,
  };
}

/**
 * Writes a dense copy in F32 of a model with codes, whose weights are the exact products of integers and scales.
 * @returns the names of the weights with codes
 */
export async function writeProducts(quantized: string, target: string): Promise<string[]> {
  const products = new Map<string, HostTensor>(), names: string[] = [];
  await using opened = await openModelFolder(quantized, denoFileSystem);
  for (const name of opened.checkpoint.names()) {
    const { dtype, shape, data } = await opened.checkpoint.tensor(name);
    let values: ArrayLike<number> = bytesToFloats(data, dtype as FloatDtype);
    if (codesOf(opened.checkpoint, name)) {
      const { integers, scales } = await integersOf(quantized, name);
      values = integers.map((integer, i) => integer * scales[i] + 0); // 0 in place of −0
      names.push(name);
    }
    products.set(name, { dtype: "F32", shape, data: floatsToBytes(Float32Array.from(values), "F32") });
  }
  await Deno.mkdir(target);
  await Deno.writeFile(`${target}/model.safetensors`, encode(products, { format: "pt" }));
  const config = makeDenseConfig(JSON.parse(await Deno.readTextFile(`${quantized}/config.json`)));
  await Deno.writeTextFile(`${target}/config.json`, JSON.stringify({ ...config, torch_dtype: "float32" }));
  return names;
}
