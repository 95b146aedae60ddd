/** The tensors of a GGUF file, each with the function that makes its bytes, and the blocks that have exactly the weights of a layer. */

import { ModelError } from "../../base/files/file_error.ts";
import { floatsToBytes } from "../../tensor/dtype.ts";
import { describeGrid, gridsPerRow, isFloat16 } from "../../tensor/quantization.ts";
import { chunkRows, type ReadRows, type RowOrder } from "../checkpoint/row_reader.ts";
import { codesOf } from "../formats/checkpoint/dense_checkpoint.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { TensorEntry } from "./container.ts";
import type { ColumnOrder } from "./row_order.ts";
import { type CodedRows, gridColumns, packCodes, packNearest, unpackBlocks } from "./blocks.ts";
import {
  BLOCK_WEIGHTS,
  type BlockType,
  hasSuperBlocks,
  rowBytes,
  type SuperBlockType,
  TENSOR_TYPES,
  type TensorType,
} from "./tensor_types.ts";

export interface PlannedTensor extends TensorEntry {
  readonly parts: readonly TensorPart[];
}

/** The rows of a tensor that are one tensor of the checkpoint, or a part of one. */
export interface TensorPart {
  readonly weight: Pick<Weight, "name" | "rows" | "cols"> & Partial<Weight>;
  readonly type: TensorType;
  /** Whether the rows are blocks of codes. */
  readonly hasCodes: boolean;
  readonly byteLength: number;
  /** The number of rows that are encoded at a time. */
  readonly rowsPerChunk: number;
  /** Returns the bytes of rows `first` to `end − 1`. @throws {ModelError} if a value is not finite in the type */
  encode(first: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

type MatrixSource = Pick<Weight, "name" | "rows" | "cols" | "read"> & Partial<Weight>;

/** @param codes reads the codes of a weight that keeps them. Without it, blocks are rounded to nearest */
export function matrix(
  place: string,
  type: TensorType,
  weight: MatrixSource,
  codes?: ReadCodes,
): PlannedTensor {
  const { name, rows, cols, read, columns } = weight, { format } = type;
  const rowsPerChunk = codes ? rows : weight.rowsPerChunk ?? chunkRows(cols);
  const encode = async (first: number, end: number) => {
    if (codes) return packPart({ weight, type }, await codes());
    const values = await read(first, end), ordered = columns ? orderColumns(values, cols, columns) : values;
    if (typeof format !== "string") return roundRows(format as BlockType, ordered, name, type);
    checkRange(ordered, RANGES[format], name, type);
    return floatsToBytes(ordered, format);
  };
  const byteLength = rows * rowBytes(type, cols);
  const part = { weight, type, hasCodes: typeof format !== "string", byteLength, rowsPerChunk, encode };
  return { name: place, type: type.code, shape: [rows, cols], byteLength, parts: [part] };
}

function roundRows(
  format: BlockType,
  values: Float32Array,
  name: string,
  type: TensorType,
): Uint8Array<ArrayBuffer> {
  checkRange(values, RANGES.F32, name, type);
  return packNearest(format, values, (factor) => checkRange([factor], RANGES.F16, name, type));
}

/** A tensor of one axis in F32. @param name the tensor of the checkpoint from which it is made */
export function vector(
  place: string,
  name: string,
  size: number,
  read: () => Promise<Float32Array>,
): PlannedTensor {
  return { ...matrix(place, TENSOR_TYPES.f32, { name, rows: 1, cols: size, read }), shape: [size] };
}

/**
 * Puts the weights of all experts with one role into one tensor, (experts, rows, cols), as llama.cpp reads them, or their biases.
 * @param experts the weights or the biases in the order of the experts, which have the same shape, and all the name of the one tensor
 * @throws {ModelError} if the weights have different types
 */
export function stackExperts(experts: readonly PlannedTensor[]): PlannedTensor {
  const [{ name, type, shape, byteLength }] = experts;
  const other = experts.findIndex((expert) => expert.type !== type);
  if (other >= 0) {
    throw new ModelError(
      `${name}: the weight of expert ${other} is packed in another type than the weight of expert 0, but one tensor has both; add --round nearest`,
    );
  }
  return {
    name,
    type,
    shape: [experts.length, ...shape],
    byteLength: experts.length * byteLength,
    parts: experts.flatMap(({ parts }) => parts),
  };
}

/** The smallest magnitude that each dtype rounds to infinity. */
const RANGES = { F32: Infinity, BF16: (2 - 2 ** -8) * 2 ** 127, F16: 65520 } as const;

function checkRange(
  values: ArrayLike<number> & Iterable<number>,
  range: number,
  name: string,
  { label }: TensorType,
): void {
  for (const value of values) {
    if (Math.abs(value) < range) continue;
    throw new ModelError(`${name}: has the value ${value}, which is not finite in ${label}`);
  }
}

export function constantVector(place: string, values: Float32Array): PlannedTensor {
  return vector(place, place, values.length, () => Promise.resolve(values));
}

/** Reads the codes of a whole weight, with the grids of a type of blocks. */
export type ReadCodes = () => Promise<CodedRows>;

export interface Weight {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly order?: RowOrder;
  /** Undefined if the tensor has the columns of the weight, in their order. */
  readonly columns?: ColumnOrder;
  /** Whether the checkpoint stores the weight as (cols, rows). `read` transposes it. */
  readonly isTransposed?: boolean;
  readonly read: ReadRows;
  /** The number of rows that are read at a time. */
  readonly rowsPerChunk: number;
}

/**
 * Returns a reader of the codes of a stored weight, or the reason why blocks do not have them, as the end of a sentence about the weight.
 * The codes of a transposed weight are not taken over, because their groups are not inputs of one output.
 */
export async function fittingCodes(
  weights: TensorSource,
  { name, cols, isTransposed }: Weight,
  type: BlockType | SuperBlockType,
): Promise<ReadCodes | string> {
  const stored = isTransposed ? undefined : codesOf(weights, name);
  if (!stored) return "has no codes";
  const { bits, groupSize, symmetric } = stored;
  if (hasSuperBlocks(type)) {
    return `has codes of ${describeGrid(stored)}, with a scale of its own for each grid`;
  }
  const groups = gridsPerRow(stored, cols), groupWeights = groupSize || cols;
  if (groupWeights % BLOCK_WEIGHTS !== 0 || bits > type.bits || !symmetric && bits === type.bits) {
    return `has codes of ${describeGrid(stored)}`;
  }
  const { scales } = await stored.grids(), wrong = scales.findIndex((scale) => !isFloat16(scale));
  if (wrong >= 0) {
    return `has the scale ${scales[wrong]} in row ${
      Math.floor(wrong / groups)
    }, which is not a number in F16`;
  }
  return () => stored.inGroups(BLOCK_WEIGHTS);
}

/** Packs the rows of a part from the codes of its whole weight. */
export function packPart(
  { weight, type: { format } }: Pick<TensorPart, "weight" | "type">,
  whole: CodedRows,
): Uint8Array<ArrayBuffer> {
  const { rows, cols, order = (row) => row, columns } = weight, type = format as BlockType | SuperBlockType;
  const pick = <Values extends Uint8Array | Float32Array>(values: Values, size: number) => {
    const picked = values.slice(0, rows * size) as Values;
    for (let row = 0; row < rows; row++) {
      picked.set(values.subarray(order(row) * size, (order(row) + 1) * size), row * size);
    }
    return picked;
  };
  const grids = cols / gridColumns(type), { codes, scales, zeros } = whole;
  const picked = { codes: pick(codes, cols), scales: pick(scales, grids), zeros: pick(zeros, grids) };
  return packCodes(type, orderGrids(picked, cols, type, columns));
}

/** Writes the weights of a part that has codes into the whole weight, (rows, cols) f32. */
export function unpackPart(
  { weight: { rows, cols, order = (row) => row, columns }, type: { format } }: TensorPart,
  packed: Uint8Array<ArrayBuffer>,
  whole: Float32Array,
): void {
  const values = unpackBlocks(format as BlockType | SuperBlockType, packed), size = columns?.size ?? cols;
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group * size < cols; group++) {
      const begin = row * cols + group * size, stored = columns?.order(group) ?? group;
      whole.set(values.subarray(begin, begin + size), order(row) * cols + stored * size);
    }
  }
}

function orderGrids(
  { codes, scales, zeros }: CodedRows,
  cols: number,
  type: BlockType | SuperBlockType,
  columns?: ColumnOrder,
): CodedRows {
  const unit = gridColumns(type), groups = columns && { ...columns, size: columns.size / unit };
  return {
    codes: orderColumns(codes, cols, columns),
    scales: orderColumns(scales, cols / unit, groups),
    zeros: orderColumns(zeros, cols / unit, groups),
  };
}

/** Returns rows of `cols` values whose groups of columns have another order. */
function orderColumns<Values extends Uint8Array | Float32Array>(
  values: Values,
  cols: number,
  columns?: ColumnOrder,
): Values {
  if (!columns) return values;
  const { size, order } = columns, ordered = values.slice() as Values, groups = cols / size;
  for (let group = 0; group * size < values.length; group++) {
    const source = group - group % groups + order(group % groups);
    ordered.set(values.subarray(source * size, (source + 1) * size), group * size);
  }
  return ordered;
}

/** Reports that a weight fits neither a type nor its fallback. @param reason the result of {@link fittingCodes} */
export function misfitError(
  folder: string,
  name: string,
  label: string,
  format: BlockType | SuperBlockType,
  reason: string,
): ModelError {
  const [grid, scales, otherwise] = hasSuperBlocks(format)
    ? [
      format,
      `integers of ${format.scaleBits} bits as scales`,
      "let llama-quantize round a file of gguf:f16",
    ]
    : [
      { bits: format.bits, groupSize: BLOCK_WEIGHTS, symmetric: true },
      "scales in F16",
      "add --round nearest",
    ];
  return new ModelError(
    `${folder}: ${name} ${reason}. ${label} holds ${describeGrid(grid)}, with ${scales}: prune with ` +
      `--for gguf:${label.toLowerCase()}, which sets the grid, or ${otherwise}`,
  );
}
