/**
 * Computes the hidden states before the first block from token ids. The CPU copies one row of the embedding table for each token, and
 * converts only the rows of tokens that occur. A projection (opt-350m) or a norm (BLOOM) after the table runs on the device.
 */

import type { Backend } from "../device/backend.ts";
import { freeArray } from "../device/host_memory.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../tensor/dtype.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";
import { DeviceWeights } from "./device_weights.ts";
import { ForwardWorkspace } from "./forward_workspace.ts";
import type { LinearSpec, NormSpec } from "./layer_specs.ts";
import type { Model } from "./model.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";
import { ModelError } from "../base/files/file_error.ts";
import { checkTensor, readElements, type TensorSource } from "./checkpoint/tensor_source.ts";

/**
 * The size up to which a table is read completely when it is opened. One read per row would take longer, but a larger table would take too
 * much memory.
 */
const MAX_CACHED_TABLE_BYTES = 512 << 20;

/** The embedding of a model: its table of tokens and, in some families, a table of positions. */
export class Embedding {
  private constructor(
    readonly backend: Backend,
    readonly model: Model,
    readonly tokens: EmbeddingTable,
    readonly positions?: EmbeddingTable,
  ) {}

  /**
   * Opens the tables of `model`.
   * @param maxCachedBytes the size up to which a table is read completely
   * @throws {ModelError} if a table is missing, or if its shape differs from the configuration
   */
  static async open(
    backend: Backend,
    model: Model,
    maxCachedBytes = MAX_CACHED_TABLE_BYTES,
  ): Promise<Embedding> {
    const { spec, weights } = model;
    const { tokens, projection, positions } = spec.embedding;
    const rowSize = projection?.inFeatures ?? spec.hiddenSize;
    return new Embedding(
      backend,
      model,
      await EmbeddingTable.open(weights, tokens, spec.vocabSize, rowSize, maxCachedBytes),
      positions &&
        await EmbeddingTable.open(
          weights,
          positions.name,
          spec.maxTokens + positions.offset,
          spec.hiddenSize,
          maxCachedBytes,
        ),
    );
  }

  /**
   * Computes the hidden states of `windows`.
   * @param windows token ids. All windows have the same length
   * @param past the number of tokens before `windows`
   * @returns (windows · tokens, hidden) f32
   * @throws {ModelError} if an id is not in the vocabulary
   * @throws {ModelError} if the projection or the norm is missing, or if its shape differs from the configuration
   */
  async gather(windows: readonly Uint32Array[], past = 0): Promise<Float32Array<ArrayBuffer>> {
    const { backend, model: { spec: { embedding }, weights } } = this;
    let states = await this.tokens.rows(windows.flatMap((window) => [...window]));
    if (embedding.scale) states = states.map((value) => value * embedding.scale!);
    if (embedding.projection) states = await runOnDevice(backend, weights, embedding.projection, states);
    if (this.positions) {
      const offset = past + (embedding.positions?.offset ?? 0);
      const length = windows[0].length;
      const positions = await this.positions.rows(Array.from({ length }, (_, t) => t + offset));
      for (let i = 0; i < states.length; i++) states[i] += positions[i % positions.length];
    }
    return embedding.norm ? runOnDevice(backend, weights, embedding.norm, states) : states;
  }

  /** Frees the tables. */
  destroy(): void {
    this.tokens.destroy();
    this.positions?.destroy();
  }
}

/**
 * Runs a projection or a norm on `states`, (rows, inputs) f32.
 * @returns (rows, outputs) f32, in host memory, because the caller may store hidden states outside of device memory
 */
async function runOnDevice(
  backend: Backend,
  source: TensorSource,
  layer: LinearSpec | NormSpec,
  states: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const isNorm = "kind" in layer, rows = states.length / (isNorm ? layer.size : layer.inFeatures);
  const layers = isNorm ? { linears: [], norms: [layer] } : { linears: [layer], norms: [] };
  const weights = await DeviceWeights.load(backend, source, { prefix: "", ...layers });
  const workspace = new ForwardWorkspace(backend), pass = { backend, weights, workspace, rows };
  try {
    const x = workspace.buffer("embedded", states.length);
    backend.write(x, 0, new Uint8Array(states.buffer, states.byteOffset, states.byteLength));
    if (isNorm) return asFloat32(await backend.read(normalize(pass, layer, x), 0, states.byteLength));
    const count = rows * layer.outFeatures, y = workspace.buffer("projected", count);
    applyLinear(pass, layer, x, 0, rows, y);
    return asFloat32(await backend.read(y, 0, count * 4));
  } finally {
    workspace.destroy();
    weights.destroy();
  }
}

/** A table with a row for each id, (rowCount, rowSize), in the dtype of the checkpoint. */
export class EmbeddingTable {
  private constructor(
    readonly source: TensorSource,
    readonly name: string,
    readonly dtype: FloatDtype,
    readonly rowCount: number,
    readonly rowSize: number,
    readonly bytes?: Uint8Array<ArrayBuffer>,
  ) {}

  /** @param maxCachedBytes the size up to which the table is read completely @throws {ModelError} if it is missing, or has another shape */
  static async open(
    source: TensorSource,
    name: string,
    rowCount: number,
    rowSize: number,
    maxCachedBytes: number,
  ): Promise<EmbeddingTable> {
    const dtype = checkTensor(source, name, [rowCount, rowSize]);
    const count = rowCount * rowSize;
    const bytes = count * BYTES_PER_ELEMENT[dtype] <= maxCachedBytes
      ? await readElements(source, name, 0, count)
      : undefined;
    return new EmbeddingTable(source, name, dtype, rowCount, rowSize, bytes);
  }

  /**
   * Returns the rows `indices`, in order, as f32, (indices.length, size).
   * @param column the first column, by default 0 @param size the number of columns, by default all
   * @throws {ModelError} if an index is not in the table
   */
  async rows(
    indices: Iterable<number>,
    column = 0,
    size = this.rowSize,
  ): Promise<Float32Array<ArrayBuffer>> {
    const all = [...indices], rowBytes = size * BYTES_PER_ELEMENT[this.dtype];
    const gathered = new Uint8Array(all.length * rowBytes), firstPlaces = new Map<number, number>();
    for (const [i, index] of all.entries()) {
      const first = firstPlaces.get(index);
      if (first === undefined) {
        gathered.set(await this.#read(index, column, size), i * rowBytes);
        firstPlaces.set(index, i);
      } else gathered.copyWithin(i * rowBytes, first * rowBytes, (first + 1) * rowBytes);
    }
    return bytesToFloats(gathered, this.dtype);
  }

  async #read(index: number, column: number, size: number): Promise<Uint8Array> {
    if (index >= this.rowCount) {
      throw new ModelError(`${this.name}: has no row ${index}; the number of rows is ${this.rowCount}`);
    }
    const first = index * this.rowSize + column, elementBytes = BYTES_PER_ELEMENT[this.dtype];
    return this.bytes?.subarray(first * elementBytes, (first + size) * elementBytes) ??
      await readElements(this.source, this.name, first, size);
  }

  destroy(): void {
    if (this.bytes) freeArray(this.bytes);
  }
}
