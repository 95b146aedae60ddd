/**
 * Weights of one byte per entry, FP8 or integers, whose matrix is divided into blocks with one scale each. An entry is
 * (code − zero)·scale, where only some integers have zeros. A block may also be a whole matrix, a row, or a group of columns.
 *
 * The product is rounded to f32 and then to the dtype of the weight, as transformers rounds it. It has at most 19 significant
 * bits if the scale has 16 bits. So it is exact in f32, and has the bits that compressed-tensors gets, which multiplies in the
 * dtype of the scale.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { bytesToFloats, elementCount, type FloatDtype, isFloatDtype } from "../../../tensor/dtype.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { Block } from "../config/read_config.ts";
import { readElements, requireTensor, type TensorSource } from "../../checkpoint/tensor_source.ts";
import type { StoredWeight } from "../format.ts";

/** Matches the names of tensors that describe the quantisation of activations or of the cache of keys and values. */
export const ACTIVATION_TENSORS =
  /[._](activation_scale|(input|output)_(scale|scale_ub|zero_point)|[kvq]_scale)$/;

interface ScaledMatrix {
  /** The name of the weight and of its codes, (…, rows, cols). All but the last two axes count matrices. */
  readonly name: string;
  readonly codes: "F8_E4M3" | "I8";
  /** The dtype of the weight. */
  readonly dtype: FloatDtype;
  /** The name of the scales, of shape (…, row blocks, column blocks). Extents of 1 at the end may be missing. */
  readonly scale: string;
  /** The name of the zeros, which are I8 and have the shape of the scales. */
  readonly zeroPoint?: string;
  /** The possible blocks. The first one that fits the shape of the scales is taken. */
  readonly blocks: readonly Block[];
}

/** Describes a weight with blocks. @throws {ModelError} if a tensor is missing, or if its dtype or shape is wrong */
export function scaledMatrix(
  checkpoint: Checkpoint,
  { name, codes, dtype, scale, zeroPoint, blocks }: ScaledMatrix,
): StoredWeight {
  const { folder } = checkpoint, { shape } = checkpoint.info(name), scales = checkpoint.info(scale);
  if (shape.length < 2 || shape.includes(0)) {
    throw new ModelError(`${folder}: ${name} must have rows and columns, not [${shape}]`);
  }
  requireTensor(checkpoint, name, codes, shape);
  if (!isFloatDtype(scales.dtype) && scales.dtype !== "F8_E8M0") {
    throw new ModelError(`${folder}: ${scale} must be F32, F16, BF16 or F8_E8M0, not ${scales.dtype}`);
  }
  const [rows, cols] = shape.slice(-2);
  const gridOf = (
    [blockRows, blockCols]: Block,
  ) => [Math.ceil(rows / blockRows), Math.ceil(cols / blockCols)];
  const shapeOf = (block: Block) => [...shape.slice(0, -2), ...gridOf(block)];
  const block = blocks.find((block) => withoutLastOnes(shapeOf(block)) === withoutLastOnes(scales.shape));
  if (!block) {
    const needed = blocks.map((block) => `[${shapeOf(block)}]`).join(" or ");
    throw new ModelError(
      `${folder}: ${scale} must have the shape ${needed} for ${name} [${shape}], not [${scales.shape}]`,
    );
  }
  if (zeroPoint !== undefined) requireTensor(checkpoint, zeroPoint, "I8", scales.shape);
  const [gridRows, gridCols] = gridOf(block), table = codes === "I8" ? INTEGERS : FLOATS;
  const gridRow = (row: number) => Math.floor(row / rows) * gridRows + Math.floor(row % rows / block[0]);
  return {
    name,
    dtype,
    shape,
    tensors: [name, scale, ...zeroPoint === undefined ? [] : [zeroPoint]],
    sections: elementCount(shape.slice(0, -1)),
    async open(source, first, end) {
      const entries = await readElements(source, name, first * cols, (end - first) * cols);
      const firstGrid = gridRow(first) * gridCols, grids = (gridRow(end - 1) + 1) * gridCols - firstGrid;
      const factors = await readScales(source, scale, firstGrid, grids);
      const zeros = zeroPoint === undefined
        ? undefined
        : Int8Array.from(await readElements(source, zeroPoint, firstGrid, grids));
      return (row, values) => {
        const begin = row * cols;
        let grid = gridRow(first + row) * gridCols - firstGrid;
        for (let col = 0; col < cols; grid++) {
          const zero = zeros?.[grid] ?? 0, factor = factors[grid], blockEnd = Math.min(cols, col + block[1]);
          for (; col < blockEnd; col++) values[col] = (table[entries[begin + col]] - zero) * factor;
        }
      };
    },
  };
}

/** Returns a shape as text, without the extents of 1 at its end. */
function withoutLastOnes(shape: readonly number[]): string {
  return String(shape.slice(0, shape.findLastIndex((extent) => extent !== 1) + 1));
}

async function readScales(
  source: TensorSource,
  name: string,
  first: number,
  count: number,
): Promise<Float32Array> {
  const { dtype } = source.info(name), bytes = await readElements(source, name, first, count);
  return isFloatDtype(dtype) ? bytesToFloats(bytes, dtype) : Float32Array.from(bytes, powerOfTwo);
}

/** Returns the number that a byte stands for in F8_E8M0, a power of two. The byte 255 is NaN. */
export function powerOfTwo(byte: number): number {
  return byte === 255 ? NaN : 2 ** (byte - 127);
}

/** The integer of each byte in I8. */
const INTEGERS = Float32Array.from({ length: 256 }, (_, byte) => byte < 128 ? byte : byte - 256);

/**
 * The number of each byte in F8_E4M3: a sign, 4 bits of an exponent with the bias 7, and 3 bits of a mantissa. There are no
 * infinities. The bytes 0x7f and 0xff are NaN.
 */
const FLOATS = Float32Array.from({ length: 256 }, (_, byte) => {
  const sign = byte < 128 ? 1 : -1, exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent === 0 ? mantissa / 8 * 2 ** -6 : (1 + mantissa / 8) * 2 ** (exponent - 7));
});
