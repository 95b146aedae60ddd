/**
 * Reads the tensors of a checkpoint in the layout `pack-quantized`, with dense weights in place of the quantised ones. The
 * values of a weight are computed when they are read, so only the requested rows are in memory.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, floatsToBytes } from "../../../tensor/dtype.ts";
import type { TensorSpec } from "../../../tensor/safetensors/encode.ts";
import type { Checkpoint } from "../checkpoint.ts";
import type { Shard } from "../weight_files.ts";
import type { TensorShape, TensorSource } from "../tensor_source.ts";
import { dequantizeRows, type RowGrids, unpackColumns, unpackRows, wordBytes } from "./codes.ts";
import { TensorScan } from "../inspect/tensor_scan.ts";
import { readGridKinds } from "./read_config.ts";
import { PACK_QUANTIZED, weightFormat } from "./config.ts";
import { quantizedNames, WEIGHT_SUFFIX } from "./layout.ts";
import { type QuantizedParts, readQuantizedParts, stemOfQuantizedPart } from "./quantized_parts.ts";

/**
 * Opens a checkpoint in the layout as a source of dense weights. The checkpoint must stay open while the source is used.
 * @throws {ModelError} if config.json describes an unsupported kind of grid, if a tensor of a quantised weight is missing, or if
 * two tensors of a weight contradict each other
 */
export async function openDequantized(checkpoint: Checkpoint): Promise<DequantizedSource> {
  const kinds = readGridKinds(checkpoint.folder, checkpoint.config);
  const stems = new Set(
    [...checkpoint.names()].map(stemOfQuantizedPart).filter((stem) => stem !== undefined),
  );
  const weights = new Map<string, QuantizedParts>();
  for (const stem of stems) {
    const parts = await readQuantizedParts(checkpoint, stem, kinds);
    weights.set(parts.weight, parts);
  }
  return new DequantizedSource(checkpoint, checkpoint.folder, weights);
}

/** The dense tensors of a checkpoint. */
export interface DenseTensors {
  readonly tensors: TensorSource;
  /** Returns the dense tensors of a weight file, in the order of the file. A quantised weight is in the file of its codes. */
  tensorsOf(shard: Shard): readonly TensorSpec[];
}

/** Opens the dense tensors of a dense or quantised checkpoint. @throws {ModelError} in the cases of {@link openDequantized} */
export async function openDense(checkpoint: Checkpoint): Promise<DenseTensors> {
  const isQuantized = weightFormat(checkpoint) === PACK_QUANTIZED;
  const tensors = isQuantized ? await openDequantized(checkpoint) : checkpoint;
  const denseName = (name: string) => {
    const stem = isQuantized ? stemOfQuantizedPart(name) : undefined;
    if (stem === undefined) return [name];
    return name === quantizedNames(stem).packed ? [stem + WEIGHT_SUFFIX] : [];
  };
  return {
    tensors,
    tensorsOf: ({ header }) =>
      header.tensors.flatMap(({ name }) => denseName(name)).map((name) => ({ ...tensors.info(name), name })),
  };
}

/** Presents a source of tensors with dense weights in place of quantised ones. */
export class DequantizedSource implements TensorSource {
  readonly #source: TensorSource;

  constructor(
    source: TensorSource,
    /** The folder of the checkpoint, for error messages. */
    readonly folder: string,
    /** Maps the name of each dense weight to the description of its quantised tensors. */
    readonly weights: ReadonlyMap<string, QuantizedParts>,
  ) {
    this.#source = source;
  }

  has(name: string): boolean {
    return this.weights.has(name) || this.#source.has(name);
  }

  info(name: string): TensorShape {
    const parts = this.weights.get(name);
    return parts ? { dtype: parts.dtype, shape: [parts.rows, parts.cols] } : this.#source.info(name);
  }

  async read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const parts = this.weights.get(name);
    if (!parts) return await this.#source.read(name, byteOffset, byteLength);
    if (byteLength === 0) return new Uint8Array();
    const rowBytes = parts.cols * BYTES_PER_ELEMENT[parts.dtype];
    const firstRow = Math.floor(byteOffset / rowBytes),
      endRow = Math.ceil((byteOffset + byteLength) / rowBytes);
    const rows = await this.#readRows(parts, firstRow, endRow);
    const begin = byteOffset - firstRow * rowBytes;
    return rows.subarray(begin, begin + byteLength);
  }

  /** Reads the codes of the rows from `firstRow` to `endRow − 1`: (rows, cols). */
  async readCodes(
    { names, cols, bits }: QuantizedParts,
    firstRow: number,
    endRow: number,
  ): Promise<Uint8Array> {
    const bytes = wordBytes(cols, bits);
    return unpackRows(
      await this.#source.read(names.packed, firstRow * bytes, (endRow - firstRow) * bytes),
      cols,
      bits,
    );
  }

  /** Reads the grids of the rows from `firstRow` to `endRow − 1`. */
  async readGrids(parts: QuantizedParts, firstRow: number, endRow: number): Promise<RowGrids> {
    const { names, dtype } = parts, bytes = gridsPerRow(parts, parts.cols) * BYTES_PER_ELEMENT[dtype];
    const scales = await this.#source.read(names.scale, firstRow * bytes, (endRow - firstRow) * bytes);
    return { scales: bytesToFloats(scales, dtype), zeros: await this.#readZeros(parts, firstRow, endRow) };
  }

  /**
   * Computes the dense rows from `firstRow` to `endRow − 1`, in the dtype of the weight.
   * @throws {ModelError} if an entry is NaN or infinite
   */
  async #readRows(parts: QuantizedParts, firstRow: number, endRow: number): Promise<Uint8Array<ArrayBuffer>> {
    const { names, cols, dtype } = parts, rows = endRow - firstRow;
    const codes = await this.readCodes(parts, firstRow, endRow),
      grids = await this.readGrids(parts, firstRow, endRow);
    const dense = floatsToBytes(dequantizeRows(codes, grids, parts), dtype);
    const scan = new TensorScan(dtype, [rows, cols]);
    scan.add(dense);
    const { firstNonFinite } = scan.result;
    if (firstNonFinite === null) return dense;
    const row = firstRow + Math.floor(firstNonFinite / cols);
    throw new ModelError(
      `${this.folder}: ${names.scale} makes entries of row ${row} of ${parts.weight} NaN or infinite`,
    );
  }

  /** Reads the zeros of some rows as codes: (rows, groups). */
  async #readZeros(parts: QuantizedParts, firstRow: number, endRow: number): Promise<Uint8Array> {
    const { names, bits, symmetric } = parts, groups = gridsPerRow(parts, parts.cols);
    if (symmetric) return new Uint8Array((endRow - firstRow) * groups).fill(2 ** (bits - 1));
    // One word holds the zeros of several rows. The words at both ends may include rows outside of the range.
    const rowsPerWord = 32 / bits, firstWord = Math.floor(firstRow / rowsPerWord);
    const words = Math.ceil(endRow / rowsPerWord) - firstWord, wordRowBytes = groups * 4;
    const packed = await this.#source.read(
      names.zeroPoint,
      firstWord * wordRowBytes,
      words * wordRowBytes,
    );
    const firstRead = firstWord * rowsPerWord;
    const zeros = unpackColumns(packed, endRow - firstRead, groups, bits);
    return zeros.subarray((firstRow - firstRead) * groups);
  }
}
