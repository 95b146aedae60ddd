/** Packs a linear layer as blocks with exactly its weights, or gives the reason why no blocks have them. */

import { ModelError } from "../../base/files/file_error.ts";
import { isFloat16 } from "../../tensor/find_scale.ts";
import { describeGrid, gridsPerRow } from "../../tensor/quantization.ts";
import { readCodes, readGrids } from "../checkpoint/quantized/codes.ts";
import { type PackedTensors, packedTensors } from "../checkpoint/stored/dense_checkpoint.ts";
import { type ReadRows, type RowOrder, rowRanges } from "../checkpoint/row_reader.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import {
  BLOCK_WEIGHTS,
  type BlockType,
  hasSuperBlocks,
  packBlocks,
  packExactly,
  type SuperBlockType,
} from "./tensor_types.ts";

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
