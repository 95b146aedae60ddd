/**
 * Plans the tensors of a GGUF file. The linear layers of the blocks have the requested type. The table of tokens and
 * the head have it too if it is a float type, and Q8_0 otherwise, rounded to nearest. Norms, biases, positions and
 * routers are in F32. Rows that are no whole super-blocks of a K type have its fallback, and rows that are no whole
 * blocks of 32 weights are in F16.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { floatsToBytes } from "../../tensor/dtype.ts";
import { type RowOrder, rowReader } from "../checkpoint/row_reader.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { BlockTraits } from "../families/family.ts";
import { isPacked, packedTensors } from "../checkpoint/stored/dense_checkpoint.ts";
import { type LinearSpec, type NormSpec, normTensors, roleOf, storedShape } from "../layer_specs.ts";
import type { Model } from "../model.ts";
import { type Architecture, noPlaceError, placeOf } from "./architecture.ts";
import { exactBlocks, misfitError, type ReadPacked, type Weight } from "./layer_blocks.ts";
import type { PlannedTensor } from "./planned_tensor.ts";
import { rowOrderOf } from "./row_order.ts";
import { stackExperts } from "./stack_experts.ts";
import {
  type BlockType,
  hasSuperBlocks,
  packBlocks,
  roundBlocks,
  rowBytes,
  storesRows,
  TENSOR_TYPES,
  type TensorType,
  type TensorTypeName,
} from "./tensor_types.ts";

/** The names in the checkpoint of the linear layers' weights, by how the file stores them. */
export interface LayerCounts {
  /** The weights in the requested type that keep their values, or all weights if it is a float type. */
  readonly exact: string[];
  /** The weights that are rounded to nearest. */
  readonly rounded: string[];
  /** The weights that keep their values in the fallback of a K type, because their rows are no multiple of 256. */
  readonly inFallback: string[];
  /** The weights in F16: their rows are no multiple of 32, or a packed checkpoint has no codes for them. */
  readonly inF16: string[];
}

export interface TensorOptions {
  readonly type: TensorTypeName;
  /** Whether weights that do not fit the type are rounded to nearest. Otherwise, and for K types, they are an error. */
  readonly round: boolean;
}

export interface TensorPlan {
  readonly tensors: readonly PlannedTensor[];
  readonly layers: LayerCounts;
  /** The type of the table of tokens and of the head. */
  readonly embeddings: TensorType;
}

/** The values that are read and encoded at a time. */
const CHUNK_VALUES = 1 << 20;

/**
 * @param folder the folder of the checkpoint, for messages
 * @throws {ModelError} if llama.cpp has no place for a tensor, or if a layer does not fit the type and is not rounded
 */
export async function planTensors(
  folder: string,
  { spec, weights }: Model,
  architecture: Architecture,
  options: TensorOptions,
): Promise<TensorPlan> {
  const { embedding, finalNorm, head } = spec;
  const planner = new TensorPlanner(folder, { spec, weights }, architecture, options);
  const target = TENSOR_TYPES[options.type],
    blocks = storesRows(TENSOR_TYPES.q8_0, spec.hiddenSize) ? TENSOR_TYPES.q8_0 : TENSOR_TYPES.f16;
  const embeddings = typeof target.format === "string" ? target : blocks;
  const table = [spec.vocabSize, spec.hiddenSize] as const;
  planner.addTable(embedding.tokens, table, "token_embd", embeddings);
  if (embedding.positions) {
    const shape = [spec.maxTokens, spec.hiddenSize] as const;
    planner.addTable(embedding.positions.name, shape, "position_embd", TENSOR_TYPES.f32);
  }
  if (embedding.norm) planner.addNorm(embedding.norm, "", "token_embd_norm");
  for (let index = 0; index < spec.blockCount; index++) {
    const block = spec.block(index), prefix = block.prefix(index);
    const place = (name: string) => `blk.${index}.${planner.placeOf(name)}`;
    for (const norm of block.norms) planner.addNorm(norm, prefix, place(norm.name));
    for (const [role, layers] of Map.groupBy(block.groups.flat(), roleOf)) {
      await planner.addLayers(layers, prefix, place(role));
    }
    for (const { name, inFeatures, outFeatures } of block.denseLayers ?? []) {
      planner.addTable(`${prefix}${name}.weight`, [outFeatures, inFeatures], place(name), TENSOR_TYPES.f32);
    }
  }
  if (finalNorm) planner.addNorm(finalNorm, "", "output_norm");
  if (`${head.name}.weight` !== embedding.tokens) {
    if (architecture.sharesHead) throw planner.noPlaceError(head.name);
    planner.addTable(`${head.name}.weight`, table, "output", embeddings);
    if (head.bias) planner.addVector(`${head.name}.bias`, spec.vocabSize, "output.bias");
  }
  return { tensors: planner.tensors, layers: planner.layers, embeddings };
}

/** Collects the tensors. The place of a tensor is its name in GGUF, here without `.weight` and `.bias`. */
class TensorPlanner {
  readonly tensors: PlannedTensor[] = [];
  readonly layers: LayerCounts = { exact: [], rounded: [], inFallback: [], inF16: [] };

  readonly #folder: string;
  readonly #weights: TensorSource;
  readonly #architecture: Architecture;
  readonly #traits: BlockTraits;
  readonly #options: TensorOptions;

  constructor(folder: string, { spec, weights }: Model, architecture: Architecture, options: TensorOptions) {
    this.#folder = folder;
    this.#weights = weights;
    this.#architecture = architecture;
    this.#traits = spec.block(0).traits!;
    this.#options = options;
  }

  /** Returns the name in GGUF of a layer or norm of a block. @throws {ModelError} if llama.cpp has none */
  placeOf(name: string): string {
    return placeOf(this.#architecture, this.#folder, name);
  }

  noPlaceError(name: string): ModelError {
    return noPlaceError(this.#architecture, this.#folder, name);
  }

  /** Adds a matrix that is not pruned: a table of tokens or positions, the head, or a router. */
  addTable(name: string, [rows, cols]: readonly [number, number], place: string, type: TensorType): void {
    const read = rowReader(this.#weights, name, [rows, cols]);
    this.tensors.push(matrix(`${place}.weight`, type, { name, rows, cols, read }));
  }

  addNorm(norm: NormSpec, prefix: string, place: string): void {
    const { size, weightOffset = 0 } = norm;
    const [weightName, biasName]: (string | undefined)[] = normTensors({ ...norm, name: prefix + norm.name });
    const read = rowReader(this.#weights, weightName!, [size]);
    const offset = async () => (await read(0, 1)).map((weight) => weight + weightOffset);
    this.tensors.push(vector(`${place}.weight`, size, offset));
    if (biasName !== undefined) this.addVector(biasName, size, `${place}.bias`);
  }

  /** Adds the layers of one role, of which there are several only in a mixture of experts. */
  async addLayers(layers: readonly LinearSpec[], prefix: string, place: string): Promise<void> {
    const planned: PlannedTensor[] = [];
    for (const layer of layers) planned.push(await this.#planLinear(layer, prefix, place));
    const isStacked = layers[0].expertRole !== undefined;
    this.tensors.push(...isStacked ? [stackExperts(`${place}.weight`, planned)] : planned);
  }

  /** Plans the weight of a layer, and adds its bias. */
  async #planLinear(linear: LinearSpec, prefix: string, place: string): Promise<PlannedTensor> {
    const { inFeatures: cols, outFeatures: rows, isTransposed } = linear,
      layer = this.placeOf(roleOf(linear));
    const order = rowOrderOf(layer, this.#architecture, this.#traits), name = `${prefix}${linear.name}`;
    const read = rowReader(this.#weights, `${name}.weight`, storedShape(linear), {
      cols,
      order,
      isTransposed,
    });
    const weight = { name: `${name}.weight`, rows, cols, order, read, rowsPerChunk: chunkRows(cols) };
    if (linear.bias) {
      if (!this.#architecture.biases.includes(layer)) throw this.noPlaceError(`${linear.name}.bias`);
      this.addVector(`${name}.bias`, rows, `${place}.bias`, order);
    }
    return await this.#planWeight(`${place}.weight`, weight);
  }

  addVector(name: string, size: number, place: string, order?: RowOrder): void {
    const read = rowReader(this.#weights, name, [size], { cols: 1, order });
    this.tensors.push(vector(place, size, () => read(0, size)));
  }

  async #planWeight(place: string, weight: Weight): Promise<PlannedTensor> {
    const { name, cols } = weight, wanted: TensorType = TENSOR_TYPES[this.#options.type];
    const isFallback = hasSuperBlocks(wanted.format) && !storesRows(wanted, cols);
    const target = isFallback ? TENSOR_TYPES[wanted.format.fallback] : wanted, { format } = target;
    if (typeof format === "string") {
      this.layers.exact.push(name);
      return matrix(place, target, weight);
    }
    if (storesRows(target, cols)) {
      const exact = await exactBlocks(this.#weights, weight, format);
      if (typeof exact !== "string") {
        this.layers[isFallback ? "inFallback" : "exact"].push(name);
        return matrix(place, target, weight, exact);
      }
      if (this.#options.round && !hasSuperBlocks(wanted.format)) {
        this.layers.rounded.push(name);
        return matrix(place, target, weight);
      }
      const isDenseInPacked = isPacked(this.#weights) && !packedTensors(this.#weights, name);
      if (!isDenseInPacked) {
        throw misfitError(this.#folder, name, wanted.label, isFallback ? wanted.format : format, exact);
      }
    }
    this.layers.inF16.push(name);
    return matrix(place, TENSOR_TYPES.f16, weight);
  }
}

type MatrixSource = Pick<Weight, "name" | "rows" | "cols" | "read">;

function chunkRows(cols: number): number {
  return Math.max(1, Math.floor(CHUNK_VALUES / cols));
}

/** @param packed reads the blocks of a weight that keeps its values. Without it, they are rounded to nearest */
function matrix(
  place: string,
  type: TensorType,
  { name, rows, cols, read }: MatrixSource,
  packed?: ReadPacked,
): PlannedTensor {
  const { format } = type;
  const encode = async (first: number, end: number) => {
    if (packed) return await packed(first, end);
    const values = await read(first, end);
    if (typeof format === "string") {
      checkRange(values, RANGES[format], name, type);
      return floatsToBytes(values, format);
    }
    return packBlocks(format as BlockType, roundRows(format as BlockType, values, name, type));
  };
  const byteLength = rows * rowBytes(type, cols);
  return {
    name: place,
    type: type.code,
    shape: [rows, cols],
    byteLength,
    rows,
    rowsPerChunk: chunkRows(cols),
    encode,
  };
}

function roundRows(format: BlockType, values: Float32Array, name: string, type: TensorType) {
  checkRange(values, RANGES.F32, name, type);
  const blocks = roundBlocks(format, values);
  checkRange(blocks.factors, RANGES.F16, name, type);
  return blocks;
}

/** A tensor of one axis in F32. */
function vector(place: string, size: number, read: () => Promise<Float32Array>): PlannedTensor {
  const encode = async () => {
    const values = await read();
    checkRange(values, RANGES.F32, place, TENSOR_TYPES.f32);
    return floatsToBytes(values, "F32");
  };
  return {
    name: place,
    type: TENSOR_TYPES.f32.code,
    shape: [size],
    byteLength: 4 * size,
    rows: 1,
    rowsPerChunk: 1,
    encode,
  };
}

/** The smallest magnitude that each dtype rounds to infinity. */
const RANGES = { F32: Infinity, BF16: (2 - 2 ** -8) * 2 ** 127, F16: 65520 } as const;

function checkRange(values: Float32Array, range: number, name: string, { label }: TensorType): void {
  const wrong = values.find((value) => !(Math.abs(value) < range));
  if (wrong !== undefined) {
    throw new ModelError(`${name}: has the value ${wrong}, which is not finite in ${label}`);
  }
}

export function constantVector(place: string, values: Float32Array): PlannedTensor {
  return vector(place, values.length, () => Promise.resolve(values));
}
