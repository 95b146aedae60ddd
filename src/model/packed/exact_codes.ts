/** Takes over linear layers as the codes of symmetric grids, or says why they are not on such grids, and chooses one kind of grid for all. */

import { ModelError } from "../../base/files/file_error.ts";
import { findScale, isFloat16, largest } from "../../tensor/find_scale.ts";
import { describeGrid } from "../../tensor/quantization.ts";
import { readCodes, readGrids } from "../formats/codes/packed_tensors.ts";
import { GROUP_SIZES } from "../formats/codes/packed_words.ts";
import type { FormatWriter, WeightShape } from "../formats/format.ts";
import { type PackedTensors, packedTensors } from "../formats/checkpoint/dense_checkpoint.ts";
import { chunkRows, rowReader } from "../checkpoint/row_reader.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";

/** The kind of symmetric grids. Each group of consecutive columns of a row has its own grid. */
export interface SymmetricGrid {
  readonly bits: number;
  readonly groupSize: number;
}

/** The codes of a weight. An entry of the weight is (code − 2^(bits − 1))·scale. */
export interface SymmetricCodes {
  /** (rows, cols) */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** The scale of each group, a number in F16 that is not 0: (rows, groups). */
  readonly scales: Float32Array<ArrayBuffer>;
}

/**
 * Returns codes that are exactly the weight, or the reason why there are none, as the end of a sentence about the
 * weight. A packed weight keeps its codes. The grid of a rounded layer that is dense in F32 is found in its weights.
 * @param grid its groups divide the columns
 */
export async function exactCodes(
  source: TensorSource,
  weight: WeightShape,
  grid: SymmetricGrid,
): Promise<SymmetricCodes | string> {
  const packed = packedTensors(source, weight.name);
  if (packed) return await packedCodes(packed, grid);
  const found = await eachGroup(source, weight, grid, findScale);
  return found ?? "has weights that no scales in F16 and codes of 4 or 8 bits give exactly";
}

/**
 * Rounds each group of a weight to nearest. The weight with the largest magnitude in a group is a value of its grid.
 * @throws {ModelError} if a weight is not finite, or too large for a scale in F16
 */
export async function nearestCodes(
  source: TensorSource,
  weight: WeightShape,
  grid: SymmetricGrid,
): Promise<SymmetricCodes> {
  const rounded = await eachGroup(source, weight, grid, (weights, integers, bits) => {
    const limit = 2 ** (bits - 1), scale = Math.f16round(largest(weights) / -limit);
    if (!weights.every(Number.isFinite) || !Number.isFinite(scale)) return undefined;
    for (let i = 0; i < weights.length; i++) {
      const integer = scale === 0 ? 0 : Math.round(weights[i] / scale);
      integers[i] = Math.min(limit - 1, Math.max(-limit, integer));
    }
    return scale;
  });
  if (rounded) return rounded;
  throw new ModelError(`${weight.name}: has a weight that is not finite, or too large for a scale in F16`);
}

/** Writes the integers of a group, and returns its scale. Returns undefined if the group fits no scale. */
type FitGroup = (weights: Float32Array, integers: Int8Array, bits: number) => number | undefined;

/** Returns the codes of all groups of a dense weight, or undefined if a group has none. */
async function eachGroup(
  source: TensorSource,
  { name, rows, cols }: WeightShape,
  { bits, groupSize }: SymmetricGrid,
  fit: FitGroup,
): Promise<SymmetricCodes | undefined> {
  const read = rowReader(source, name, [rows, cols]), count = chunkRows(cols);
  const codes = new Uint8Array(rows * cols), scales = new Float32Array(codes.length / groupSize);
  const integers = new Int8Array(groupSize), zero = 2 ** (bits - 1);
  let at = 0;
  for (let first = 0; first < rows; first += count) {
    const values = await read(first, Math.min(rows, first + count));
    for (let begin = 0; begin < values.length; begin += groupSize, at++) {
      const scale = fit(values.subarray(begin, begin + groupSize), integers, bits);
      if (scale === undefined) return undefined;
      scales[at] = scale || 1; // programs divide by scales, and a group of zeros fits every scale
      for (let i = 0; i < groupSize; i++) codes[at * groupSize + i] = integers[i] + zero;
    }
  }
  return { codes, scales };
}

async function packedCodes(
  { source, parts }: PackedTensors,
  { bits, groupSize }: SymmetricGrid,
): Promise<SymmetricCodes | string> {
  const { rows, cols } = parts, storedSize = parts.groupSize || cols;
  if (parts.bits !== bits || !parts.symmetric || storedSize % groupSize !== 0) {
    return `has codes of ${describeGrid(parts)}`;
  }
  const { scales: stored } = await readGrids(source, parts, 0, rows), groups = cols / groupSize;
  const scales = Float32Array.from(
    { length: rows * groups },
    (_, i) => stored[Math.floor(i * groupSize / storedSize)], // a stored grid has whole groups, and a row whole grids
  );
  const wrong = scales.findIndex((scale) => !isFloat16(scale) || scale === 0);
  if (wrong >= 0) {
    const row = Math.floor(wrong / groups);
    return `has the scale ${scales[wrong]} in row ${row}, which is 0 or no number in F16`;
  }
  return { codes: await readCodes(source, parts, 0, rows), scales };
}

interface GridChoice {
  readonly grid: SymmetricGrid;
  /** The names of the weights that are exactly on grids of this kind. */
  readonly exact: readonly string[];
  /** The other weights, and the reason for each, as the end of a sentence about the weight. */
  readonly misfits: ReadonlyMap<string, string>;
}

/**
 * Compares the weights with every kind of grid. If no weight is on grids of any kind, the choice is the first number of bits in the
 * smallest groups, because rounding to nearest changes the weights less in smaller groups.
 * @param weights the columns of each are a multiple of the smallest group size
 */
export async function chooseGrid(
  source: TensorSource,
  weights: readonly WeightShape[],
  { bits: allowed, groupSizes = GROUP_SIZES }: Pick<FormatWriter, "bits" | "groupSizes">,
): Promise<GridChoice> {
  const choices: GridChoice[] = [];
  for (const bits of allowed) {
    const choice = await chooseGroups(source, weights, bits, groupSizes);
    if (choice.misfits.size === 0) return choice;
    choices.push(choice);
  }
  return choices.reduce((best, other) => other.exact.length > best.exact.length ? other : best);
}

async function chooseGroups(
  source: TensorSource,
  weights: readonly WeightShape[],
  bits: number,
  groupSizes: readonly number[],
): Promise<GridChoice> {
  let sizes = groupSizes.filter((size) => weights.every(({ cols }) => cols % size === 0));
  const exact: string[] = [], misfits = new Map<string, string>();
  for (const weight of weights) {
    const fitting: number[] = [], reasons: string[] = [];
    for (const groupSize of sizes) {
      const codes = await exactCodes(source, weight, { bits, groupSize });
      if (typeof codes === "string") reasons.push(codes);
      else fitting.push(groupSize);
    }
    if (fitting.length === 0) misfits.set(weight.name, reasons[0]);
    else {
      exact.push(weight.name);
      sizes = fitting;
    }
  }
  return { grid: { bits, groupSize: exact.length === 0 ? sizes.at(-1)! : sizes[0] }, exact, misfits };
}
