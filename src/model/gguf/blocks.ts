/** Packs rows into blocks of GGUF, from the codes of a solver or rounded to nearest, and reads the weights of blocks. */

import { isFloat16, largest, scaleLimit, SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import { packBlocks, readBlocks } from "./block_layout.ts";
import { BLOCK_WEIGHTS, type BlockType, hasSuperBlocks, type SuperBlockType } from "./tensor_types.ts";

/** The codes of some rows. A weight is (code − zero)·scale, as in `QuantizedWeight`. */
export interface CodedRows {
  /** (rows, cols) */
  readonly codes: Uint8Array;
  /** The scale of each grid, a number in F16, or in a K type an integer times one: (rows, grids). */
  readonly scales: Float32Array;
  /** The code of the weight 0 in each grid: (rows, grids). */
  readonly zeros: Uint8Array | Float32Array;
}

/** The columns that share a grid. */
export function gridColumns(format: BlockType | SuperBlockType): number {
  return hasSuperBlocks(format) ? format.groupSize : BLOCK_WEIGHTS;
}

/**
 * Packs rows that are on grids of the type.
 * @throws {RangeError} if the scales of a super-block have no common factor in F16
 */
export function packCodes(
  format: BlockType | SuperBlockType,
  { codes, scales, zeros }: CodedRows,
): Uint8Array<ArrayBuffer> {
  const middle = 2 ** (format.bits - 1);
  if (!hasSuperBlocks(format)) {
    return packBlocks(format, scales.length, (block, i) => {
      const first = i * BLOCK_WEIGHTS, shift = middle - zeros[i];
      block.factor = scales[i];
      for (let k = 0; k < BLOCK_WEIGHTS; k++) block.codes[k] = codes[first + k] + shift;
    });
  }
  const groups = SUPER_BLOCK_COLUMNS / format.groupSize;
  return packBlocks(format, codes.length / SUPER_BLOCK_COLUMNS, (block, i) => {
    const first = i * groups, own = scales.subarray(first, first + groups);
    const minimums = own.map((scale, group) => scale * zeros[first + group] / middle);
    const factor = commonFactor(format, own, minimums);
    block.factor = factor;
    block.codes.set(codes.subarray(i * SUPER_BLOCK_COLUMNS, (i + 1) * SUPER_BLOCK_COLUMNS));
    block.scales.set(own.map((scale) => scale / factor & 255));
    if (!format.symmetric) block.minimums.set(minimums.map((minimum) => Math.round(minimum / factor)));
  });
}

/** Returns the largest d of which all scales, and in a type with minimums all minimums, are multiples up to the limit. */
function commonFactor(format: SuperBlockType, scales: Float32Array, minimums: Float32Array): number {
  const limit = scaleLimit(format), middle = 2 ** (format.bits - 1);
  const largest = scales.reduce((largest, scale) => Math.max(largest, Math.abs(scale)), 0);
  for (let n = 1; n <= limit; n++) {
    const factor = largest / n;
    const fits = isFloat16(factor) && scales.every((scale) => Number.isInteger(scale / factor)) &&
      (format.symmetric || isFloat16(middle * factor) &&
          minimums.every((minimum) => isNearInteger(minimum / factor) && minimum <= (limit + 0.5) * factor));
    if (fits) return factor;
  }
  throw new RangeError(
    `the scales ${scales.join(", ")} are not multiples of a number in F16 up to ${limit} times that number`,
  );
}

/** A zero between two codes is rounded to F32. */
function isNearInteger(value: number): boolean {
  return Math.abs(value - Math.round(value)) < 1e-3;
}

/** Reads the weights of blocks, which are exact in F32. */
export function unpackBlocks(
  format: BlockType | SuperBlockType,
  packed: Uint8Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const size = hasSuperBlocks(format) ? SUPER_BLOCK_COLUMNS : BLOCK_WEIGHTS;
  const weights = new Float32Array(packed.length / format.blockBytes * size);
  const middle = 2 ** (format.bits - 1), columns = gridColumns(format);
  readBlocks(format, packed, ({ factor, codes, scales, minimums }, i) => {
    for (let k = 0; k < size; k++) {
      const group = Math.floor(k / columns);
      const scale = hasSuperBlocks(format) ? signed(scales[group], format) : 1;
      const lowest = middle * (minimums.length > 0 ? minimums[group] : scale);
      weights[i * size + k] = (scale * codes[k] - lowest) * factor;
    }
  });
  return weights;
}

/** Returns the integer of a scale, whose highest bit is its sign in a symmetric type. */
function signed(stored: number, { symmetric, scaleBits }: SuperBlockType): number {
  return symmetric ? stored << 32 - scaleBits >> 32 - scaleBits : stored;
}

/**
 * Rounds rows to nearest, as `gguf.quants.quantize` of the package `gguf` does.
 * @param check gets the factor d of each block before its rounding to F16
 */
export function packNearest(
  format: BlockType,
  weights: Float32Array,
  check: (factor: number) => void,
): Uint8Array<ArrayBuffer> {
  const round = format.rounding === "largest weight" ? roundByWeight : roundByMagnitude;
  const middle = 2 ** (format.bits - 1), integers = new Int8Array(BLOCK_WEIGHTS);
  return packBlocks(format, weights.length / BLOCK_WEIGHTS, (block, i) => {
    const own = weights.subarray(i * BLOCK_WEIGHTS, (i + 1) * BLOCK_WEIGHTS);
    check(block.factor = round(own, integers, middle));
    for (let k = 0; k < BLOCK_WEIGHTS; k++) block.codes[k] = integers[k] + middle;
  });
}

/** Rounds 32 weights with d = −w/middle, where w has the largest magnitude. Returns d. */
function roundByWeight(weights: Float32Array, integers: Int8Array, middle: number): number {
  const d = Math.fround(largest(weights) / -middle), inverse = d === 0 ? 0 : Math.fround(1 / d);
  for (let i = 0; i < BLOCK_WEIGHTS; i++) {
    const code = Math.trunc(Math.fround(Math.fround(weights[i] * inverse) + (middle + 0.5)));
    integers[i] = Math.min(2 * middle - 1, Math.max(0, code)) - middle;
  }
  return d;
}

/** Rounds 32 weights with d = |w|/127, where w has the largest magnitude. Returns d. */
function roundByMagnitude(weights: Float32Array, integers: Int8Array): number {
  const d = Math.fround(Math.abs(largest(weights)) / 127), inverse = d === 0 ? 0 : Math.fround(1 / d);
  for (let i = 0; i < BLOCK_WEIGHTS; i++) {
    const value = Math.fround(weights[i] * inverse), magnitude = Math.abs(value);
    integers[i] = Math.sign(value) *
      (Math.floor(magnitude) + Math.floor(2 * (magnitude - Math.floor(magnitude))));
  }
  return d;
}
