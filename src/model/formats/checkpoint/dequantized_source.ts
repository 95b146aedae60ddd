/**
 * Presents dense weights in place of the tensors that store them. The values of a weight are computed when they are read. Memory
 * then holds the requested values, the codes, scales and zeros of their sections, and one more section of dense values for each
 * of at most {@link MAX_READERS} readers.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { BYTES_PER_ELEMENT, elementCount, floatsToBytes } from "../../../tensor/dtype.ts";
import { TensorScan } from "../../checkpoint/inspect/tensor_scan.ts";
import type { TensorShape, TensorSource } from "../../checkpoint/tensor_source.ts";
import type { StoredWeight } from "../format.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The number of readers at different places, such as the bodies for several hosts, whose sections are computed only once. */
const MAX_READERS = 4;

export class DequantizedSource implements TensorSource {
  readonly #source: TensorSource;
  readonly #folder: string;
  readonly #weights: ReadonlyMap<string, StoredWeight>;
  /** The sections of many rows that were read in part, in the order of their last reads. A reader usually continues in its section. */
  readonly #begun = new Map<string, Promise<Bytes>>();

  /**
   * @param source the stored tensors
   * @param folder the folder of the checkpoint, for error messages
   * @param weights the weights by name
   */
  constructor(source: TensorSource, folder: string, weights: ReadonlyMap<string, StoredWeight>) {
    this.#source = source;
    this.#folder = folder;
    this.#weights = weights;
  }

  has(name: string): boolean {
    return this.#weights.has(name) || this.#source.has(name);
  }

  info(name: string): TensorShape {
    return this.#weights.get(name) ?? this.#source.info(name);
  }

  async read(name: string, byteOffset: number, byteLength: number): Promise<Bytes> {
    const weight = this.#weights.get(name);
    if (!weight) return await this.#source.read(name, byteOffset, byteLength);
    if (byteLength === 0) return new Uint8Array();
    const { rowsPerSection, rowBytes } = sizesOf(weight), sectionBytes = rowsPerSection * rowBytes;
    const byteEnd = byteOffset + byteLength;
    const first = Math.floor(byteOffset / sectionBytes), end = Math.ceil(byteEnd / sectionBytes);
    const begin = byteOffset - first * sectionBytes, isWhole = begin === 0 && byteEnd === end * sectionBytes;
    if (isWhole || rowsPerSection === 1) {
      const rows = await this.#dequantize(weight, first, end);
      return rows.subarray(begin, begin + byteLength);
    }
    const wanted = new Uint8Array(byteLength);
    for (let section = first; section < end; section++) {
      const sectionBegin = section * sectionBytes, key = `${name}/${section}`;
      const bytes = await this.#section(key, weight, section);
      const partBegin = Math.max(byteOffset, sectionBegin),
        partEnd = Math.min(byteEnd, sectionBegin + sectionBytes);
      wanted.set(bytes.subarray(partBegin - sectionBegin, partEnd - sectionBegin), partBegin - byteOffset);
      if (partEnd === sectionBegin + sectionBytes) this.#begun.delete(key);
    }
    return wanted;
  }

  #section(key: string, weight: StoredWeight, section: number): Promise<Bytes> {
    const bytes = this.#begun.get(key) ?? this.#dequantize(weight, section, section + 1);
    this.#begun.delete(key);
    this.#begun.set(key, bytes);
    const [oldest] = this.#begun.keys();
    if (this.#begun.size > MAX_READERS) this.#begun.delete(oldest);
    return bytes;
  }

  /**
   * Computes the sections from `first` to `end − 1`, in the dtype of the weight.
   * @throws {ModelError} if an entry is NaN or infinite
   */
  async #dequantize(weight: StoredWeight, first: number, end: number): Promise<Bytes> {
    const { name, dtype, tensors: [codes, scales] } = weight,
      { rowsPerSection, rowBytes, cols } = sizesOf(weight);
    const fillRow = await weight.open(this.#source, first, end);
    const rows = (end - first) * rowsPerSection, values = new Float32Array(cols);
    const dense = new Uint8Array(rows * rowBytes);
    for (let row = 0; row < rows; row++) {
      fillRow(row, values);
      dense.set(floatsToBytes(values, dtype), row * rowBytes);
    }
    const scan = new TensorScan(dtype, [rows, cols]);
    scan.add(dense);
    const { firstNonFinite } = scan.result;
    if (firstNonFinite === null) return dense;
    const row = first * rowsPerSection + Math.floor(firstNonFinite / cols);
    throw new ModelError(
      `${this.#folder}: ${codes} and ${scales} make entries of row ${row} of ${name} NaN or infinite`,
    );
  }
}

function sizesOf({ dtype, shape, sections }: StoredWeight) {
  const cols = shape.at(-1)!, rows = elementCount(shape.slice(0, -1));
  return { cols, rowBytes: cols * BYTES_PER_ELEMENT[dtype], rowsPerSection: rows / sections };
}
