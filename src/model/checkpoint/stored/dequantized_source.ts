/**
 * Presents tensors with dense weights in place of stored ones. The values of a weight are computed when they are read, so at
 * most the requested values and one unit of a weight are in memory.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { BYTES_PER_ELEMENT, elementCount, floatsToBytes } from "../../../tensor/dtype.ts";
import { TensorScan } from "../inspect/tensor_scan.ts";
import type { TensorShape, TensorSource } from "../tensor_source.ts";
import type { StoredWeight } from "./stored_format.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class DequantizedSource implements TensorSource {
  readonly #source: TensorSource;
  readonly #folder: string;
  readonly #weights: ReadonlyMap<string, StoredWeight>;
  /** The last unit of many rows, of which a part was read. The next read usually continues in it. */
  #last?: { readonly weight: StoredWeight; readonly unit: number; readonly bytes: Promise<Bytes> };

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
    const { rowsPerUnit, rowBytes } = sizesOf(weight), unitBytes = rowsPerUnit * rowBytes;
    const byteEnd = byteOffset + byteLength;
    const first = Math.floor(byteOffset / unitBytes), end = Math.ceil(byteEnd / unitBytes);
    const begin = byteOffset - first * unitBytes, isWhole = begin === 0 && byteEnd === end * unitBytes;
    if (isWhole || rowsPerUnit === 1) {
      const rows = await this.#dequantize(weight, first, end);
      return rows.subarray(begin, begin + byteLength);
    }
    const wanted = new Uint8Array(byteLength);
    for (let unit = first; unit < end; unit++) {
      const unitBegin = unit * unitBytes, bytes = await this.#unit(weight, unit);
      const partBegin = Math.max(byteOffset, unitBegin), partEnd = Math.min(byteEnd, unitBegin + unitBytes);
      wanted.set(bytes.subarray(partBegin - unitBegin, partEnd - unitBegin), partBegin - byteOffset);
      if (partEnd === unitBegin + unitBytes) this.#last = undefined;
    }
    return wanted;
  }

  async #unit(weight: StoredWeight, unit: number): Promise<Bytes> {
    if (this.#last?.weight !== weight || this.#last.unit !== unit) {
      this.#last = { weight, unit, bytes: this.#dequantize(weight, unit, unit + 1) };
    }
    return await this.#last.bytes;
  }

  /**
   * Computes the units from `first` to `end − 1`, in the dtype of the weight.
   * @throws {ModelError} if an entry is NaN or infinite
   */
  async #dequantize(weight: StoredWeight, first: number, end: number): Promise<Bytes> {
    const { name, dtype, tensors } = weight, { rowsPerUnit, rowBytes, cols } = sizesOf(weight);
    const fillRow = await weight.open(this.#source, first, end);
    const rows = (end - first) * rowsPerUnit, values = new Float32Array(cols);
    const dense = new Uint8Array(rows * rowBytes);
    for (let row = 0; row < rows; row++) {
      fillRow(row, values);
      dense.set(floatsToBytes(values, dtype), row * rowBytes);
    }
    const scan = new TensorScan(dtype, [rows, cols]);
    scan.add(dense);
    const { firstNonFinite } = scan.result;
    if (firstNonFinite === null) return dense;
    const row = first * rowsPerUnit + Math.floor(firstNonFinite / cols);
    throw new ModelError(
      `${this.#folder}: ${tensors[0]} and ${
        tensors[1]
      } make entries of row ${row} of ${name} NaN or infinite`,
    );
  }
}

function sizesOf({ dtype, shape, units }: StoredWeight) {
  const cols = shape.at(-1)!, rows = elementCount(shape.slice(0, -1));
  return { cols, rowBytes: cols * BYTES_PER_ELEMENT[dtype], rowsPerUnit: rows / units };
}
