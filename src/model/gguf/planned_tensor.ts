/** The tensors of a GGUF file, each with the function that makes its bytes, and the blocks that have exactly the weights of a layer. */

import { ModelError } from "../../base/files/file_error.ts";
import { floatsToBytes } from "../../tensor/dtype.ts";
import { isFloat16 } from "../../tensor/find_scale.ts";
import { describeGrid, gridsPerRow } from "../../tensor/quantization.ts";
import { readCodes, readGrids } from "../formats/codes/packed_tensors.ts";
import { chunkRows, type ReadRows, type RowOrder, rowRanges } from "../checkpoint/row_reader.ts";
import { type PackedTensors, packedTensors } from "../formats/checkpoint/dense_checkpoint.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { TensorEntry } from "./container.ts";
import type { ColumnOrder } from "./row_order.ts";
import {
  BLOCK_WEIGHTS,
  type BlockType,
  hasSuperBlocks,
  packBlocks,
  packExactly,
  roundBlocks,
  rowBytes,
  type SuperBlockType,
  TENSOR_TYPES,
  type TensorType,
} from "./tensor_types.ts";

export interface PlannedTensor extends TensorEntry {
  readonly rows: number;
  /** The number of rows that are encoded at a time. */
  readonly rowsPerChunk: number;
  /** Returns the bytes of rows `first` to `end − 1`. @throws {ModelError} if a value is not finite in the type */
  encode(first: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

type MatrixSource = Pick<Weight, "name" | "rows" | "cols" | "read"> & Partial<Pick<Weight, "rowsPerChunk">>;

/** @param packed reads the blocks of a weight that keeps its values. Without it, they are rounded to nearest */
export function matrix(
  place: string,
  type: TensorType,
  { name, rows, cols, read, rowsPerChunk = chunkRows(cols) }: MatrixSource,
  packed?: ReadPacked,
): PlannedTensor {
  const { format } = type;
  const encode = async (first: number, end: number) => {
    if (packed) return await packed(first, end);
    const values = await read(first, end);
    if (typeof format === "string") {
      checkRange(values, RANGES[format], name, type);
      return floatsToBytes(values, format);
    }
    return packBlocks(format as BlockType, roundRows(format as BlockType, values, name, type));
  };
  const byteLength = rows * rowBytes(type, cols);
  return {
    name: place,
    type: type.code,
    shape: [rows, cols],
    byteLength,
    rows,
    rowsPerChunk,
    encode,
  };
}

function roundRows(format: BlockType, values: Float32Array, name: string, type: TensorType) {
  checkRange(values, RANGES.F32, name, type);
  const blocks = roundBlocks(format, values);
  checkRange(blocks.factors, RANGES.F16, name, type);
  return blocks;
}

/** A tensor of one axis in F32. */
export function vector(place: string, size: number, read: () => Promise<Float32Array>): PlannedTensor {
  return { ...matrix(place, TENSOR_TYPES.f32, { name: place, rows: 1, cols: size, read }), shape: [size] };
}

/** Returns a matrix with another order of its groups of `size` columns, each of which is whole blocks. */
export function withColumnOrder(
  tensor: PlannedTensor,
  { size, order }: ColumnOrder,
): PlannedTensor {
  const groups = tensor.shape[1] / size, bytes = tensor.byteLength / tensor.rows / groups;
  return {
    ...tensor,
    async encode(first, end) {
      const encoded = await tensor.encode(first, end), ordered = new Uint8Array(encoded.length);
      for (let group = 0; group * bytes < encoded.length; group++) {
        const source = group - group % groups + order(group % groups);
        ordered.set(encoded.subarray(source * bytes, (source + 1) * bytes), group * bytes);
      }
      return ordered;
    },
  };
}

/**
 * Puts the weights of all experts with one role into one tensor, (experts, rows, cols), as llama.cpp reads them, or their biases.
 * @param experts the weights or the biases in the order of the experts, which have the same shape, and all the name of the one tensor
 * @throws {ModelError} if the weights have different types
 */
export function stackExperts(experts: readonly PlannedTensor[]): PlannedTensor {
  const [{ name, type, rows, rowsPerChunk, shape, byteLength }] = experts;
  const other = experts.findIndex((expert) => expert.type !== type);
  if (other >= 0) {
    throw new ModelError(
      `${name}: the weight of expert ${other} is not packed as that of expert 0, but one tensor has both; add --round nearest`,
    );
  }
  return {
    name,
    type,
    shape: [experts.length, ...shape],
    byteLength: experts.length * byteLength,
    rows: experts.length * rows,
    rowsPerChunk,
    async encode(first, end) {
      const rowBytes = byteLength / rows, bytes = new Uint8Array((end - first) * rowBytes);
      for (let row = first; row < end;) {
        const expert = Math.floor(row / rows), begin = expert * rows;
        const next = Math.min(end, begin + rows);
        bytes.set(await experts[expert].encode(row - begin, next - begin), (row - first) * rowBytes);
        row = next;
      }
      return bytes;
    },
  };
}

/** The smallest magnitude that each dtype rounds to infinity. */
const RANGES = { F32: Infinity, BF16: (2 - 2 ** -8) * 2 ** 127, F16: 65520 } as const;

function checkRange(values: Float32Array, range: number, name: string, { label }: TensorType): void {
  const wrong = values.find((value) => !(Math.abs(value) < range));
  if (wrong !== undefined) {
    throw new ModelError(`${name}: has the value ${wrong}, which is not finite in ${label}`);
  }
}

export function constantVector(place: string, values: Float32Array): PlannedTensor {
  return vector(place, values.length, () => Promise.resolve(values));
}

/** Reads the packed blocks of the rows from `first` to `end − 1`. */
export type ReadPacked = (first: number, end: number) => Promise<Uint8Array<ArrayBuffer>>;

export interface Weight {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly order?: RowOrder;
  /** Whether the checkpoint stores the weight as (cols, rows). `read` transposes it. */
  readonly isTransposed?: boolean;
  readonly read: ReadRows;
  /** The number of rows that are read at a time. */
  readonly rowsPerChunk: number;
}

/**
 * Returns a reader of blocks that are exactly the weight, or the reason why there are none, as the end of a sentence
 * about the weight. A packed weight keeps its codes. A dense weight in F32 may be on a grid too, because no narrower
 * dtype has rounded the products of codes and scales. The codes of a transposed weight are not taken over, because their groups are not
 * inputs of one output.
 */
export async function exactBlocks(
  source: TensorSource,
  weight: Weight,
  type: BlockType | SuperBlockType,
): Promise<ReadPacked | string> {
  const packed = weight.isTransposed ? undefined : packedTensors(source, weight.name);
  if (packed) {
    if (hasSuperBlocks(type)) {
      return `has codes of ${describeGrid(packed.parts)}, with a scale of its own for each grid`;
    }
    return await packedBlocks(packed, weight, type);
  }
  for (let first = 0; first < weight.rows; first += weight.rowsPerChunk) {
    const end = Math.min(weight.rows, first + weight.rowsPerChunk);
    if (!packExactly(type, await weight.read(first, end))) {
      return "has weights that no factors and integers of this type give exactly";
    }
  }
  return async (first, end) => packExactly(type, await weight.read(first, end))!;
}

async function packedBlocks(
  { source, parts }: PackedTensors,
  { cols, order }: Weight,
  type: BlockType,
): Promise<ReadPacked | string> {
  const { bits, groupSize, symmetric } = parts, groups = gridsPerRow(parts, cols);
  const groupWeights = groupSize || cols;
  if (groupWeights % BLOCK_WEIGHTS !== 0 || bits > type.bits || !symmetric && bits === type.bits) {
    return `has codes of ${describeGrid(parts)}`;
  }
  const { scales } = await readGrids(source, parts, 0, parts.rows);
  const wrong = scales.findIndex((scale) => !isFloat16(scale));
  if (wrong >= 0) {
    return `has the scale ${scales[wrong]} in row ${Math.floor(wrong / groups)}, which is no number in F16`;
  }
  return async (first, end) => {
    const integers = new Int8Array((end - first) * cols),
      factors = new Float32Array(integers.length / BLOCK_WEIGHTS);
    let at = 0;
    for (const range of rowRanges(order, first, end)) {
      const codes = await readCodes(source, parts, ...range),
        grids = await readGrids(source, parts, ...range);
      for (let i = 0; i < codes.length; i++, at++) {
        const grid = Math.floor(i / groupWeights);
        integers[at] = codes[i] - grids.zeros[grid];
        if (at % BLOCK_WEIGHTS === 0) factors[at / BLOCK_WEIGHTS] = grids.scales[grid];
      }
    }
    return packBlocks(type, { integers, factors });
  };
}

/** Reports that a weight fits neither a type nor its fallback. @param reason the result of {@link exactBlocks} */
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
