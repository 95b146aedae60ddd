/**
 * Plans the tensors of a GGUF file. The linear layers of the blocks have the requested type. The table of tokens and
 * the head have it too if it is a float type, and Q8_0 otherwise, rounded to nearest. Norms, biases, positions and
 * routers are in F32. If the rows of a weight are not whole super-blocks of a K type, the weight has the type's fallback.
 * If the rows are not whole blocks of 32 weights, the weight is in F16. So is a weight whose columns move in groups that are not
 * whole blocks of the type.
 */

import type { ModelError } from "../../base/files/file_error.ts";
import { chunkRows, rowReader } from "../checkpoint/row_reader.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import { type BlockTraits, firstTrait } from "../families/family.ts";
import { codesOf, hasCodes } from "../formats/checkpoint/dense_checkpoint.ts";
import {
  type LinearSpec,
  type NormSpec,
  normTensors,
  roleOf,
  storedShape,
  type VectorSpec,
} from "../layer_specs.ts";
import type { Model } from "../model.ts";
import type { Architecture } from "../families/architecture.ts";
import { noPlaceError, placeOf } from "./architecture.ts";
import {
  fittingCodes,
  matrix,
  misfitError,
  type PlannedTensor,
  stackExperts,
  vector,
  type Weight,
} from "./planned_tensor.ts";
import { rowOrderOf, type RowPart, rowParts } from "./row_order.ts";
import {
  hasSuperBlocks,
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
  /** The weights that keep their values in the fallback of a K type, because their rows are not a multiple of 256. */
  readonly inFallback: string[];
  /** The weights in F16: their rows, or groups of columns that move, are not whole blocks, or a packed checkpoint has no codes for them. */
  readonly inF16: string[];
}

export interface TensorOptions {
  readonly type: TensorTypeName;
  /** Whether weights that do not fit the type are rounded to nearest. Otherwise, and for K types, they are an error. */
  readonly round: boolean;
  /**
   * The weights that a run will round to the grid of the type. No weight is then read, so the plan has the sizes of the
   * file that the run will write, but not its values. Other linear layers have F16.
   */
  readonly rounded?: { has(name: string): boolean };
}

export interface TensorPlan {
  readonly tensors: readonly PlannedTensor[];
  readonly layers: LayerCounts;
  /** The type of the table of tokens and of the head. */
  readonly embeddings: TensorType;
}

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
  const { q8_0, f16, [options.type]: target } = TENSOR_TYPES, isFloat = typeof target.format === "string";
  const typeOfTable = (cols: number) => isFloat ? target : storesRows(q8_0, cols) ? q8_0 : f16;
  const embeddings = typeOfTable(spec.hiddenSize);
  const table = [spec.vocabSize, spec.hiddenSize] as const;
  planner.addTable(embedding.tokens, table, "token_embd", embeddings);
  if (embedding.positions) {
    const shape = [spec.maxTokens, spec.hiddenSize] as const;
    planner.addTable(embedding.positions.name, shape, "position_embd", TENSOR_TYPES.f32);
  }
  if (spec.tokenInputs) {
    const { table, rows, projection: { name, inFeatures, outFeatures }, norm } = spec.tokenInputs;
    planner.addTable(table, [rows, outFeatures], "per_layer_token_embd", typeOfTable(outFeatures));
    const shape = [outFeatures, inFeatures] as const, place = "per_layer_model_proj";
    planner.addTable(`${name}.weight`, shape, place, isFloat ? target : f16);
    planner.addNorm(norm, "", "per_layer_proj_norm");
  }
  if (embedding.norm) planner.addNorm(embedding.norm, "", "token_embd_norm");
  for (let index = 0; index < spec.blockCount; index++) {
    const block = spec.block(index), prefix = block.prefix(index), inFile = `blk.${index}.`;
    for (const norm of block.norms.filter(({ affine }) => affine)) {
      planner.addNorm(norm, prefix, inFile + planner.placeOf(norm.name));
    }
    for (const layers of Map.groupBy(block.groups.flat(), roleOf).values()) {
      await planner.addLayers(layers, prefix, inFile);
    }
    for (const layer of block.denseLayers ?? []) planner.addRouter(layer, prefix, inFile);
    for (const spec of block.vectors ?? []) planner.addVector(spec, prefix, inFile);
  }
  if (finalNorm) planner.addNorm(finalNorm, "", architecture.finalNorm ?? "output_norm");
  if (`${head.name}.weight` !== embedding.tokens) {
    if (architecture.sharesHead) throw planner.noPlaceError(head.name);
    planner.addTable(`${head.name}.weight`, table, "output", embeddings);
    if (head.bias) planner.addBias(`${head.name}.bias`, spec.vocabSize, "output.bias");
  }
  return { tensors: planner.tensors, layers: planner.layerCounts(), embeddings };
}

/** Collects the tensors. The place of a tensor is its name in GGUF, here without `.weight` and `.bias`. */
class TensorPlanner {
  readonly tensors: PlannedTensor[] = [];

  readonly #folder: string;
  readonly #weights: TensorSource;
  readonly #architecture: Architecture;
  readonly #traits: BlockTraits;
  readonly #options: TensorOptions;
  // A layer whose rows are two tensors is counted once.
  readonly #exact = new Set<string>();
  readonly #rounded = new Set<string>();
  readonly #inFallback = new Set<string>();
  readonly #inF16 = new Set<string>();

  constructor(folder: string, { spec, weights }: Model, architecture: Architecture, options: TensorOptions) {
    this.#folder = folder;
    this.#weights = weights;
    this.#architecture = architecture;
    const linear = firstTrait(spec, "linear"), mamba = firstTrait(spec, "mamba");
    this.#traits = { ...spec.block(0).traits!, linear, mamba };
    this.#options = options;
  }

  layerCounts(): LayerCounts {
    return {
      exact: [...this.#exact],
      rounded: [...this.#rounded],
      inFallback: [...this.#inFallback],
      inF16: [...this.#inF16],
    };
  }

  /** Returns the name in GGUF of a layer or norm of a block. @throws {ModelError} if llama.cpp has none */
  placeOf(name: string): string {
    return placeOf(this.#architecture, this.#folder, name);
  }

  noPlaceError(name: string): ModelError {
    return noPlaceError(this.#architecture, this.#folder, name);
  }

  /** Adds a matrix that is not pruned, such as a table of tokens or positions, or the head. */
  addTable(name: string, [rows, cols]: readonly [number, number], place: string, type: TensorType): void {
    const read = rowReader(this.#weights, name, [rows, cols]);
    this.tensors.push(matrix(`${place}.weight`, type, { name, rows, cols, read }));
  }

  addNorm(norm: NormSpec, prefix: string, place: string): void {
    const { size, weightOffset = 0, weightName: suffix = "weight" } = norm;
    const [weightName, biasName]: (string | undefined)[] = normTensors({ ...norm, name: prefix + norm.name });
    const read = rowReader(this.#weights, weightName!, [size]);
    const offset = async () => (await read(0, 1)).map((weight) => weight + weightOffset);
    this.tensors.push(vector(`${place}.${suffix}`, weightName!, size, offset));
    if (biasName !== undefined) this.addBias(biasName, size, `${place}.bias`);
  }

  /** Adds the bias of the head or of a norm. */
  addBias(name: string, size: number, place: string): void {
    const read = rowReader(this.#weights, name, [size]);
    this.tensors.push(vector(place, name, size, () => read(0, 1)));
  }

  /** Adds a vector of a block that is not a bias. @param inFile the part of the names of the block in GGUF that its tensors share */
  addVector({ name, size, shape = [size] }: VectorSpec, prefix: string, inFile: string): void {
    const place = this.#architecture.vectors?.[name];
    if (place === undefined) throw this.noPlaceError(name);
    const [rows] = shape, order = rowOrderOf(place, this.#architecture, this.#traits);
    const read = rowReader(this.#weights, `${prefix}${name}`, shape, { cols: size / rows, order });
    const values = async () => {
      const stored = await read(0, rows);
      // The rates at which states decay are negative. A checkpoint has the logarithms of their magnitudes.
      return place === "ssm_a" ? stored.map((value) => -Math.exp(value)) : stored;
    };
    const extents = this.#extentsOfMamba(place, size) ??
      shape.filter((extent, axis) => axis === 0 || extent > 1);
    this.tensors.push({ ...vector(`${inFile}${place}`, `${prefix}${name}`, size, values), shape: extents });
  }

  /** Returns the extents of a vector of Mamba 2 that has one row per head, or per group of heads. */
  #extentsOfMamba(place: string, size: number): readonly number[] | undefined {
    const { mamba } = this.#traits;
    if (!mamba) return undefined;
    if (place === "ssm_a" || place === "ssm_d") return [size, 1];
    return place === "ssm_norm.weight" ? [mamba.groups, size / mamba.groups] : undefined;
  }

  /** Adds a layer of a mixture that is not pruned. */
  addRouter(
    { name, inFeatures, outFeatures: rows, bias }: LinearSpec,
    prefix: string,
    inFile: string,
  ): void {
    const place = this.placeOf(name);
    this.addTable(`${prefix}${name}.weight`, [rows, inFeatures], inFile + place, TENSOR_TYPES.f32);
    if (bias) this.tensors.push(this.#planBias(prefix + name, rows, { place, rows }, inFile));
  }

  /** Adds the layers of one role, of which there are several only in a mixture of experts. */
  async addLayers(layers: readonly LinearSpec[], prefix: string, inFile: string): Promise<void> {
    const [first] = layers, place = (role: string) => this.placeOf(role);
    const add = (planned: readonly PlannedTensor[]) =>
      this.tensors.push(first.expertRole === undefined ? planned[0] : stackExperts(planned));
    for (const part of rowParts(first, this.#architecture, this.#traits, place)) {
      const weights: PlannedTensor[] = [];
      for (const layer of layers) weights.push(await this.#planLinear(layer, prefix, part, inFile));
      add(weights);
      if (!first.bias) continue;
      add(layers.map(({ name, outFeatures }) => this.#planBias(prefix + name, outFeatures, part, inFile)));
    }
  }

  async #planLinear(
    linear: LinearSpec,
    prefix: string,
    { place, rows, order, columns }: RowPart,
    inFile: string,
  ): Promise<PlannedTensor> {
    const { inFeatures: cols, isTransposed } = linear, name = `${prefix}${linear.name}.weight`;
    const read = rowReader(this.#weights, name, storedShape(linear), { cols, order, isTransposed });
    const rowsPerChunk = isTransposed ? rows : chunkRows(cols);
    const weight = { name, rows, cols, order, columns, isTransposed, read, rowsPerChunk };
    return await this.#planWeight(`${inFile}${place}.weight`, weight, columns?.size);
  }

  /** @param size the number of elements of the bias in the checkpoint */
  #planBias(layer: string, size: number, { place, rows, order }: RowPart, inFile: string): PlannedTensor {
    const name = `${layer}.bias`;
    if (!this.#architecture.biases?.includes(place)) throw this.noPlaceError(name);
    const read = rowReader(this.#weights, name, [size], { cols: 1, order });
    return vector(`${inFile}${place}.bias`, name, rows, () => read(0, rows));
  }

  /** @param unit the number of neighbouring columns that must be whole blocks of the type, because they move together */
  async #planWeight(place: string, weight: Weight, unit = weight.cols): Promise<PlannedTensor> {
    const { name, cols } = weight, wanted: TensorType = TENSOR_TYPES[this.#options.type];
    const isFallback = hasSuperBlocks(wanted.format) && !storesRows(wanted, cols);
    const target = isFallback ? TENSOR_TYPES[wanted.format.fallback] : wanted, { format } = target;
    if (typeof format === "string") {
      this.#exact.add(name);
      return matrix(place, target, weight);
    }
    if (storesRows(target, unit)) {
      const { rounded, round } = this.#options;
      const exact = !rounded
        ? await fittingCodes(this.#weights, weight, format)
        : rounded.has(name)
        ? undefined
        : "is not rounded";
      if (typeof exact !== "string") {
        (isFallback ? this.#inFallback : this.#exact).add(name);
        return matrix(place, target, weight, exact);
      }
      if (round && !hasSuperBlocks(wanted.format)) {
        this.#rounded.add(name);
        return matrix(place, target, weight);
      }
      const isDenseInPacked = rounded !== undefined ||
        (hasCodes(this.#weights) && !codesOf(this.#weights, name));
      if (!isDenseInPacked) {
        throw misfitError(this.#folder, name, wanted.label, isFallback ? wanted.format : format, exact);
      }
    }
    this.#inF16.add(name);
    return matrix(place, TENSOR_TYPES.f16, weight);
  }
}
