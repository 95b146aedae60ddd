/**
 * Computes the first hidden states by gathering rows of the embedding tables on the host. A small table is read whole; of a large one only
 * the rows that occur are read. Only those rows are converted to f32, because a text uses a small part of a vocabulary. Some families
 * also have a projection and a norm here, which run on the device.
 */

import type { Backend } from "../backend/backend.ts";
import { bytesToFloats } from "../tensor/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { normalizeStates, projectStates } from "./embedding_states.ts";
import type { Model } from "./model.ts";
import { readElements, type TensorSource } from "../checkpoint/tensor_source.ts";
import { checkTensor } from "./upload.ts";

/** Tables up to this size are read whole, because one read per row would cost more than the memory. */
const WHOLE_TABLE_BYTES = 512 << 20;

/** The embedding of a model. */
export class Embedding {
  private constructor(
    readonly backend: Backend,
    readonly model: Model,
    readonly tokens: EmbeddingTable,
    readonly positions?: EmbeddingTable,
  ) {}

  /**
   * Opens the tables.
   * @param wholeTableBytes the size up to which a table is read whole
   * @throws {ModelError} if a table is missing, or does not have the shape of the model
   */
  static async open(
    backend: Backend,
    model: Model,
    wholeTableBytes = WHOLE_TABLE_BYTES,
  ): Promise<Embedding> {
    const { spec, weights } = model;
    const { tokens, projection, positions } = spec.embedding;
    const width = projection?.inFeatures ?? spec.hiddenSize;
    return new Embedding(
      backend,
      model,
      await EmbeddingTable.open(weights, tokens, spec.vocabSize, width, wholeTableBytes),
      positions &&
        await EmbeddingTable.open(
          weights,
          positions.name,
          spec.maxTokens + positions.offset,
          spec.hiddenSize,
          wholeTableBytes,
        ),
    );
  }

  /**
   * Computes the hidden states of `windows`, token ids, all windows of one length.
   * @returns (windows · tokens, hidden) f32
   * @throws {RangeError} if an id is not in the vocabulary
   * @throws {ModelError} if the projection or the norm is missing, or does not have the shape of the model
   */
  async gather(windows: readonly Uint32Array[]): Promise<Float32Array<ArrayBuffer>> {
    const { backend, model: { spec: { embedding }, weights } } = this;
    let states = await this.tokens.rows(windows.flatMap((window) => [...window]));
    if (embedding.projection) states = await projectStates(backend, weights, embedding.projection, states);
    if (this.positions) {
      const offset = embedding.positions?.offset ?? 0;
      const length = windows[0].length;
      const positions = await this.positions.rows(Array.from({ length }, (_, t) => t + offset));
      for (let i = 0; i < states.length; i++) states[i] += positions[i % positions.length];
    }
    return embedding.norm ? normalizeStates(backend, weights, embedding.norm, states) : states;
  }
}

/** An embedding table, (rows, width). */
class EmbeddingTable {
  private constructor(
    readonly source: TensorSource,
    readonly name: string,
    readonly dtype: FloatDtype,
    readonly rowCount: number,
    readonly width: number,
    /** The raw bytes of a small table. */
    readonly whole?: Uint8Array<ArrayBuffer>,
  ) {}

  static async open(
    source: TensorSource,
    name: string,
    rowCount: number,
    width: number,
    wholeTableBytes: number,
  ): Promise<EmbeddingTable> {
    const dtype = checkTensor(source, name, [rowCount, width]);
    const count = rowCount * width;
    const whole = count * BYTES_PER_ELEMENT[dtype] <= wholeTableBytes
      ? await readElements(source, name, 0, count)
      : undefined;
    return new EmbeddingTable(source, name, dtype, rowCount, width, whole);
  }

  /** Returns the rows `indices`, in order, as f32. */
  async rows(indices: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { width } = this;
    const gathered = new Float32Array(indices.length * width);
    const read = new Map<number, Float32Array>();
    for (const [i, index] of indices.entries()) {
      let row = read.get(index);
      if (!row) read.set(index, row = await this.#row(index));
      gathered.set(row, i * width);
    }
    return gathered;
  }

  async #row(index: number): Promise<Float32Array> {
    if (index >= this.rowCount) throw new RangeError(`${this.name}: no row ${index} of ${this.rowCount}`);
    const first = index * this.width;
    const elementBytes = BYTES_PER_ELEMENT[this.dtype];
    const row = this.whole?.subarray(first * elementBytes, (first + this.width) * elementBytes) ??
      await readElements(this.source, this.name, first, this.width);
    return bytesToFloats(row, this.dtype);
  }
}
