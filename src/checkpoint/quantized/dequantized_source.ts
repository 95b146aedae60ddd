/**
 * The tensors of a checkpoint in the layout `pack-quantized`, with dense weights in the place of the quantised ones. The values
 * of a weight are computed when they are read, so only the rows that a read covers are in memory.
 */

import { gridsPerRow } from "../../quantization/quantization.ts";
import { bytesToFloats, floatsToBytes } from "../../tensor/convert.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { Checkpoint } from "../checkpoint.ts";
import type { TensorShape, TensorSource } from "../tensor_source.ts";
import { unpackColumns, unpackRows, wordBytes } from "./codes.ts";
import { readCodeKinds } from "./config.ts";
import { dequantizeRows } from "./dequantize.ts";
import { type QuantizedParts, readQuantizedParts, stemOfQuantizedPart } from "./quantized_parts.ts";

/**
 * Opens the dense weights of a checkpoint in the layout. The checkpoint must stay open.
 *
 * @throws {ModelError} if the configuration has an unsupported kind of grid, or if a tensor of a weight is missing or contradicts
 * another tensor
 */
export async function openDequantized(checkpoint: Checkpoint): Promise<DequantizedSource> {
  const kinds = readCodeKinds(checkpoint.folder, checkpoint.config);
  const stems = new Set(
    [...checkpoint.names()].map(stemOfQuantizedPart).filter((stem) => stem !== undefined),
  );
  const weights = new Map<string, QuantizedParts>();
  for (const stem of stems) {
    const parts = await readQuantizedParts(checkpoint, stem, kinds);
    weights.set(parts.weight, parts);
  }
  return new DequantizedSource(checkpoint, weights);
}

/** The dense tensors of a quantised checkpoint. */
export class DequantizedSource implements TensorSource {
  readonly #checkpoint: Checkpoint;

  /** Use {@link openDequantized}. */
  constructor(
    checkpoint: Checkpoint,
    /** The quantised weights by the names of the dense weights. */
    readonly weights: ReadonlyMap<string, QuantizedParts>,
  ) {
    this.#checkpoint = checkpoint;
  }

  has(name: string): boolean {
    return this.weights.has(name) || this.#checkpoint.has(name);
  }

  info(name: string): TensorShape {
    const parts = this.weights.get(name);
    return parts ? { dtype: parts.dtype, shape: [parts.rows, parts.cols] } : this.#checkpoint.info(name);
  }

  async read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const parts = this.weights.get(name);
    if (!parts) return await this.#checkpoint.read(name, byteOffset, byteLength);
    if (byteLength === 0) return new Uint8Array();
    const rowBytes = parts.cols * BYTES_PER_ELEMENT[parts.dtype];
    const firstRow = Math.floor(byteOffset / rowBytes),
      endRow = Math.ceil((byteOffset + byteLength) / rowBytes);
    const rows = await this.#readRows(parts, firstRow, endRow);
    const begin = byteOffset - firstRow * rowBytes;
    return rows.subarray(begin, begin + byteLength);
  }

  /** Computes the rows from `firstRow` to `endRow − 1`, in the dtype of the weight. */
  async #readRows(parts: QuantizedParts, firstRow: number, endRow: number): Promise<Uint8Array<ArrayBuffer>> {
    const { names, cols, bits, dtype } = parts, rows = endRow - firstRow;
    const packedBytes = wordBytes(cols, bits),
      scaleBytes = gridsPerRow(parts, parts.cols) * BYTES_PER_ELEMENT[dtype];
    const packed = await this.#checkpoint.read(names.packed, firstRow * packedBytes, rows * packedBytes);
    const scales = await this.#checkpoint.read(names.scale, firstRow * scaleBytes, rows * scaleBytes);
    const zeros = await this.#readZeros(parts, firstRow, endRow);
    const grids = { scales: bytesToFloats(scales, dtype), zeros };
    return floatsToBytes(dequantizeRows(unpackRows(packed, cols, bits), grids, parts), dtype);
  }

  /** Reads the zeros of some rows: (rows, groups). */
  async #readZeros(parts: QuantizedParts, firstRow: number, endRow: number): Promise<Uint8Array> {
    const { names, bits, symmetric } = parts, groups = gridsPerRow(parts, parts.cols);
    if (symmetric) return new Uint8Array((endRow - firstRow) * groups).fill(2 ** (bits - 1));
    // Several rows share a word, so the rows of all words that the range touches are read.
    const rowsPerWord = 32 / bits, firstWord = Math.floor(firstRow / rowsPerWord);
    const words = Math.ceil(endRow / rowsPerWord) - firstWord, wordRowBytes = groups * 4;
    const packed = await this.#checkpoint.read(
      names.zeroPoint,
      firstWord * wordRowBytes,
      words * wordRowBytes,
    );
    const firstRead = firstWord * rowsPerWord;
    const zeros = unpackColumns(packed, endRow - firstRead, groups, bits);
    return zeros.subarray((firstRow - firstRead) * groups);
  }
}
