/**
 * The first hidden states: rows of the embedding tables, gathered on the host. A table is read whole only where
 * it is small; otherwise just the rows that occur. Either way only those are widened to f32: a vocabulary is mostly unused.
 * The projection and the norm that some families have here run on the device.
 */

import type { Backend } from "../backend/backend.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { normalizeStates, projectStates } from "./embedding_states.ts";
import type { Model } from "./model.ts";
import { readElements, type TensorSource } from "../checkpoint/tensor_source.ts";
import { checkTensor } from "./upload.ts";

/** Tables up to this size are read whole: a read a row costs more than the memory. */
const WHOLE_TABLE_BYTES = 512 << 20;

/** The embedding of a model, open for gathering. */
export class Embedding {
  private constructor(
    readonly backend: Backend,
    readonly model: Model,
    readonly tokens: EmbeddingTable,
    readonly positions?: EmbeddingTable,
  ) {}

  /**
   * @param wholeTableBytes the most a table may take to be read whole
   * @throws {ModelError} a table is missing or has another shape than the model's
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
   * @param windows token ids, all windows of one length
   * @returns (windows · tokens, hidden) f32
   * @throws {RangeError} an id is not in the vocabulary
   * @throws {ModelError} the projection or the norm is missing or has another shape than the model's
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

/** One table, (rows, width). */
class EmbeddingTable {
  private constructor(
    readonly source: TensorSource,
    readonly name: string,
    readonly dtype: FloatDtype,
    readonly rowCount: number,
    readonly width: number,
    /** The whole table as it is stored, where it is small. */
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

  /** The rows `indices`, in order, as f32. */
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
    return toFloat32(row, this.dtype);
  }
}
