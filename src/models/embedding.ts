/**
 * The first hidden states: rows of the embedding tables, gathered on the host. A table is read whole only where
 * it is small; otherwise just the rows that occur. Either way only those are widened to f32: a vocabulary is mostly unused.
 */

import { toFloat32 } from "../tensor/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import type { EmbeddingSpec } from "./families/family.ts";
import type { Model } from "./model.ts";
import { readElements, type TensorSource } from "./tensor_source.ts";
import { checkTensor } from "./upload.ts";

/** Tables up to this size are read whole: a read a row costs more than the memory. */
const WHOLE_TABLE_BYTES = 512 << 20;

/** The embedding of a model, open for gathering. */
export class Embedding {
  readonly #spec: EmbeddingSpec;
  readonly #tokens: EmbeddingTable;
  readonly #positions?: EmbeddingTable;

  private constructor(spec: EmbeddingSpec, tokens: EmbeddingTable, positions?: EmbeddingTable) {
    this.#spec = spec;
    this.#tokens = tokens;
    this.#positions = positions;
  }

  /**
   * @param wholeTableBytes the most a table may take to be read whole
   * @throws {ModelError} a table is missing or has another shape than the model's
   */
  static async open({ spec, weights }: Model, wholeTableBytes = WHOLE_TABLE_BYTES): Promise<Embedding> {
    const { tokens, positions } = spec.embedding;
    return new Embedding(
      spec.embedding,
      await EmbeddingTable.open(weights, tokens, spec.vocabSize, spec.hiddenSize, wholeTableBytes),
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
   */
  async gather(windows: readonly Uint32Array[]): Promise<Float32Array<ArrayBuffer>> {
    const offset = this.#spec.positions?.offset ?? 0;
    const ids = windows.flatMap((window) => [...window]);
    const states = await this.#tokens.rows(ids);
    if (this.#positions) {
      const tokens = windows[0].length;
      const positions = await this.#positions.rows(Array.from({ length: tokens }, (_, t) => t + offset));
      for (let i = 0; i < states.length; i++) states[i] += positions[i % positions.length];
    }
    return states;
  }
}

/** One table, (rows, hidden). */
class EmbeddingTable {
  private constructor(
    readonly source: TensorSource,
    readonly name: string,
    readonly dtype: FloatDtype,
    readonly rowCount: number,
    readonly hiddenSize: number,
    /** The whole table as it is stored, where it is small. */
    readonly whole?: Uint8Array<ArrayBuffer>,
  ) {}

  static async open(
    source: TensorSource,
    name: string,
    rowCount: number,
    hiddenSize: number,
    wholeTableBytes: number,
  ): Promise<EmbeddingTable> {
    const dtype = checkTensor(source, name, [rowCount, hiddenSize]);
    const count = rowCount * hiddenSize;
    const whole = count * BYTES_PER_ELEMENT[dtype] <= wholeTableBytes
      ? await readElements(source, name, 0, count)
      : undefined;
    return new EmbeddingTable(source, name, dtype, rowCount, hiddenSize, whole);
  }

  /** The rows `indices`, in order, as f32. */
  async rows(indices: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { hiddenSize } = this;
    const gathered = new Float32Array(indices.length * hiddenSize);
    const read = new Map<number, Float32Array>();
    for (const [i, index] of indices.entries()) {
      let row = read.get(index);
      if (!row) read.set(index, row = await this.#row(index));
      gathered.set(row, i * hiddenSize);
    }
    return gathered;
  }

  async #row(index: number): Promise<Float32Array> {
    if (index >= this.rowCount) throw new RangeError(`${this.name}: no row ${index} of ${this.rowCount}`);
    const first = index * this.hiddenSize;
    const elementBytes = BYTES_PER_ELEMENT[this.dtype];
    const row = this.whole?.subarray(first * elementBytes, (first + this.hiddenSize) * elementBytes) ??
      await readElements(this.source, this.name, first, this.hiddenSize);
    return toFloat32(row, this.dtype);
  }
}
