/**
 * Presents the experts of a mixture as tensors of their own. Some checkpoints store one tensor for all experts of a block, in which each
 * weight of an expert is a consecutive range of bytes. The header of such a file lists these ranges, its _slices_, in place of the tensor.
 * Experts are therefore read, replaced and recorded one by one, and the file keeps its layout.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { isFloatDtype, sameShape, tensorBytes } from "../../tensor/dtype.ts";
import type { TensorSpec } from "../../tensor/safetensors/encode.ts";
import type { SafetensorsHeader, TensorInfo } from "../../tensor/safetensors/header.ts";
import type { Shard, WeightFile } from "./weight_files.ts";

/** The largest number of experts of a mixture. Routing stores the numbers of experts in 16 bits. */
export const MAX_EXPERTS = 65_535;

/** Matches the tensors of all experts: weights, (experts, rows, cols), and biases, (experts, rows). */
const FUSED = /^(.*\.experts)\.(gate_up_proj|down_proj)(_bias)?$/;

/** Matches the tensors of Granite 4, which are weights. Their slices get names with `.experts` too. */
const FUSED_GRANITE = /^(.*\.block_sparse_moe)\.(input_linear|output_linear)\.weight$/;

/** The names of the layers of an expert, in the order of their slices in a tensor. */
const LAYERS = ["gate_proj", "up_proj", "gate_up_proj", "down_proj", "input_linear", "output_linear"];

const SLICE = new RegExp(`^(.*\\.experts)\\.\\d+\\.(${LAYERS.join("|")})\\.(weight|bias)$`);

/** Returns the parts of the name of a tensor of all experts: the mixture in the names of its slices, the layer, and `_bias` if it has biases. */
function partsOf(name: string): readonly [mixture?: string, layer?: string, bias?: string] {
  const [, granite, linear] = FUSED_GRANITE.exec(name) ?? [];
  if (granite !== undefined) return [`${granite}.experts`, linear];
  const [, mixture, layer, bias] = FUSED.exec(name) ?? [];
  return [mixture, layer, bias];
}

/**
 * Lists the layers of an expert whose slices follow one another in a tensor of a weight file. If the weights are stored as (outputs,
 * inputs), the gate has the first half of the rows of `gate_up_proj`, and `up` the second half, so they are two layers. If the weights are
 * stored as (inputs, outputs), `gate_up_proj` is one layer.
 * @param shapeOf returns the shape of a tensor of the checkpoint
 * @returns an empty list if the tensor does not belong to all experts of a mixture, or if it has codes, which are one stored weight
 */
function layersOf(
  { name, dtype, shape }: TensorSpec,
  shapeOf: (name: string) => readonly number[] | undefined,
): readonly string[] {
  const [mixture, layer, bias] = partsOf(name);
  if (mixture === undefined || !isFloatDtype(dtype) || shape.length !== (bias ? 2 : 3)) return [];
  if (shape.some((extent) => extent === 0) || shape[0] > MAX_EXPERTS) return [];
  const [, rows] = shapeOf(`${mixture}.gate_up_proj`) ?? [],
    [, , cols] = shapeOf(`${mixture}.down_proj`) ?? [];
  return layer === "gate_up_proj" && rows === 2 * cols && shape[1] % 2 === 0
    ? ["gate_proj", "up_proj"]
    : [layer!];
}

/** Lists the slices of `tensor`, expert by expert. */
function slicesOf(
  { name, dtype, shape: [experts, rows, ...cols], begin }: TensorInfo,
  layers: readonly string[],
) {
  const [mixture, , bias] = partsOf(name), kind = bias ? "bias" : "weight";
  const shape = [rows / layers.length, ...cols], bytes = tensorBytes(dtype, shape);
  return Array.from({ length: experts * layers.length }, (_, index): TensorInfo => {
    const expert = Math.floor(index / layers.length), first = begin + index * bytes;
    const sliceName = `${mixture}.${expert}.${layers[index % layers.length]}.${kind}`;
    return { name: sliceName, dtype, shape, begin: first, end: first + bytes };
  });
}

/** Returns the name of the tensor of all experts to which the slice `name` belongs, or undefined for other tensors. */
function fusedName(name: string): string | undefined {
  const [, mixture, layer, kind] = SLICE.exec(name) ?? [];
  if (mixture === undefined) return undefined;
  if (layer.endsWith("_linear")) return `${mixture.replace(/\.experts$/, "")}.${layer}.${kind}`;
  return `${mixture}.${layer === "down_proj" ? layer : "gate_up_proj"}${kind === "bias" ? "_bias" : ""}`;
}

/** Returns the header of a file with slices in place of the tensors of all experts, and these tensors by the names of their slices. */
function splitHeader(
  header: SafetensorsHeader,
  layersOf: (tensor: TensorInfo) => readonly string[],
): Pick<WeightFile, "header" | "wholeTensors"> {
  const wholeTensors = new Map<string, TensorInfo>();
  const tensors = header.tensors.flatMap((tensor) => {
    const layers = layersOf(tensor);
    if (layers.length === 0) return [tensor];
    const slices = slicesOf(tensor, layers);
    for (const { name } of slices) wholeTensors.set(name, tensor);
    return slices;
  });
  return wholeTensors.size === 0 ? { header } : { header: { ...header, tensors }, wholeTensors };
}

/** Presents the experts in the weight files of a checkpoint as tensors of their own. */
export function splitExperts(shards: readonly Shard[]): Shard[] {
  const shapes = new Map(
    shards.flatMap(({ header }) => header.tensors.map(({ name, shape }) => [name, shape])),
  );
  return shards.map((shard) => {
    const split = splitHeader(shard.header, (tensor) => layersOf(tensor, (name) => shapes.get(name)));
    return {
      ...shard,
      header: split.header,
      // Some tensors of the file may be split already.
      wholeTensors: split.wholeTensors
        ? new Map([...shard.wholeTensors ?? [], ...split.wholeTensors])
        : shard.wholeTensors,
      position(info) {
        const whole = split.wholeTensors?.get(info.name);
        return whole ? shard.position(whole) + info.begin - whole.begin : shard.position(info);
      },
    };
  });
}

/**
 * Returns the tensors that a file with the slices `specs` must have.
 * @param original the file that it replaces, which has tensors of all experts
 * @throws {ModelError} if `original` also stores experts of other blocks one by one
 * @throws {ModelError} if one tensor cannot have the slices of all experts, because one is missing or has another dtype or shape
 */
export function joinExperts(
  { name: file, header, wholeTensors }: WeightFile,
  specs: readonly TensorSpec[],
): TensorSpec[] {
  const separate = header.tensors.find(({ name }) => SLICE.test(name) && !wholeTensors?.has(name));
  if (separate) {
    throw new ModelError(
      `${file}: stores all experts of one block in one tensor, but ${separate.name} alone, so the file cannot be laid out anew`,
    );
  }
  const groups = Map.groupBy(specs, ({ name }) => fusedName(name) ?? name);
  return [...groups].flatMap(([name, slices]): TensorSpec[] => {
    if (fusedName(slices[0].name) === undefined) return slices;
    const { dtype, shape: [rows, ...cols] } = slices[0], layers = layersOfSlices(slices);
    const joined = { name, dtype, shape: [slices.length / layers.length, rows * layers.length, ...cols] };
    const named = new Map(slices.map((slice) => [slice.name, slice]));
    for (const expected of slicesOf({ ...joined, begin: 0, end: 0 }, layers)) {
      const slice = named.get(expected.name);
      if (slice?.dtype === dtype && sameShape(slice.shape, expected.shape)) continue;
      const found = slice ? `${slice.dtype} [${slice.shape}]` : "missing";
      throw new ModelError(
        `tensor ${name}: needs ${dtype} [${expected.shape}] for ${expected.name}, which is ${found}`,
      );
    }
    return [joined];
  });
}

/** Lists the layers of an expert whose slices are in `slices`, which belong to one tensor. */
function layersOfSlices(slices: readonly TensorSpec[]): string[] {
  const found = new Set(slices.map(({ name }) => SLICE.exec(name)![2]));
  return LAYERS.filter((layer) => found.has(layer));
}

/** Presents the experts of a file with the tensors that {@link joinExperts} returned. @param specs its slices */
export function splitWritten(
  header: SafetensorsHeader,
  specs: readonly TensorSpec[],
): Pick<WeightFile, "header" | "wholeTensors"> {
  const slices = Map.groupBy(specs, ({ name }) => fusedName(name));
  return splitHeader(header, ({ name }) => layersOfSlices(slices.get(name) ?? []));
}
