/** Takes over the codes of a checkpoint, or rounds weights to nearest, for symmetric grids with scales in F16. */

import { ModelError } from "../../base/files/file_error.ts";
import { describeGrid, isFloat16, largest } from "../../tensor/quantization.ts";
import { GROUP_SIZES, type WeightCodes, type WeightShape } from "../formats/format.ts";
import { codesOf } from "../formats/checkpoint/dense_checkpoint.ts";
import { chunkRows, rowReader } from "../checkpoint/row_reader.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";

/** The kind of symmetric grids. Each group of consecutive columns of a row has its own grid. */
export interface SymmetricGrid {
  readonly bits: number;
  readonly groupSize: number;
}

/**
 * Rounds each group of a weight to nearest. The weight with the largest magnitude in a group is a value of its grid.
 * @throws {ModelError} if a weight is not finite, or too large for a scale in F16
 */
export async function nearestCodes(
  source: TensorSource,
  { name, rows, cols }: WeightShape,
  { bits, groupSize }: SymmetricGrid,
): Promise<WeightCodes> {
  const read = rowReader(source, name, [rows, cols]), count = chunkRows(cols), limit = 2 ** (bits - 1);
  const codes = new Uint8Array(rows * cols), scales = new Float32Array(codes.length / groupSize);
  for (let first = 0, at = 0; first < rows; first += count) {
    const values = await read(first, Math.min(rows, first + count));
    for (let begin = 0; begin < values.length; begin += groupSize, at++) {
      const weights = values.subarray(begin, begin + groupSize);
      const scale = Math.f16round(largest(weights) / -limit);
      if (!weights.every(Number.isFinite) || !Number.isFinite(scale)) {
        throw new ModelError(`${name}: has a weight that is not finite, or too large for a scale in F16`);
      }
      scales[at] = scale || 1; // programs divide by scales, and a group of zeros fits every scale
      for (let i = 0; i < groupSize; i++) {
        const integer = scale === 0 ? 0 : Math.round(weights[i] / scale);
        codes[at * groupSize + i] = Math.min(limit - 1, Math.max(-limit, integer)) + limit;
      }
    }
  }
  return { codes, scales, zeros: new Uint8Array(scales.length).fill(limit) };
}

interface GridChoice {
  readonly grid: SymmetricGrid;
  /** The names of the weights whose codes are on grids of this kind. */
  readonly exact: readonly string[];
  /** The other weights, and the reason for each, as the end of a sentence about the weight. */
  readonly misfits: ReadonlyMap<string, string>;
}

/**
 * Chooses the number of bits of most codes, and the largest groups that divide the groups of these codes. If no codes fit, the choice
 * is the first number of bits in the smallest groups, because rounding to nearest changes the weights less in smaller groups.
 * @param weights the columns of each are a multiple of the smallest group size
 */
export async function chooseGrid(
  source: TensorSource,
  weights: readonly WeightShape[],
  allowed: readonly number[],
): Promise<GridChoice> {
  const choices: GridChoice[] = [];
  for (const bits of allowed) choices.push(await chooseGroups(source, weights, bits));
  return choices.reduce((best, other) => other.exact.length > best.exact.length ? other : best);
}

async function chooseGroups(
  source: TensorSource,
  weights: readonly WeightShape[],
  bits: number,
): Promise<GridChoice> {
  let sizes = GROUP_SIZES.filter((size) => weights.every(({ cols }) => cols % size === 0));
  const exact: string[] = [], misfits = new Map<string, string>();
  for (const { name, cols, rows } of weights) {
    const stored = codesOf(source, name), storedSize = stored?.groupSize || cols;
    const fitting = sizes.filter((size) => storedSize % size === 0);
    const reason = !stored
      ? "has no codes"
      : stored.bits !== bits || !stored.symmetric || fitting.length === 0
      ? `has codes of ${describeGrid(stored)}`
      : wrongScale((await stored.grids()).scales, rows);
    if (reason !== undefined) misfits.set(name, reason);
    else {
      exact.push(name);
      sizes = fitting;
    }
  }
  return { grid: { bits, groupSize: exact.length === 0 ? sizes.at(-1)! : sizes[0] }, exact, misfits };
}

function wrongScale(scales: Float32Array, rows: number): string | undefined {
  const wrong = scales.findIndex((scale) => !isFloat16(scale) || scale === 0);
  if (wrong < 0) return undefined;
  const row = Math.floor(wrong * rows / scales.length);
  return `has the scale ${scales[wrong]} in row ${row}, which is 0 or not a number in F16`;
}
