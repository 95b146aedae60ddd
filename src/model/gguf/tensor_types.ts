/**
 * The types of tensors that Pare writes, as `ggml-common.h` in github.com/ggml-org/llama.cpp defines them. In the types
 * `q*_0`, each 32 weights of a row are a block of integers q with one factor d in F16, and d·q is a weight.
 * `super_blocks.ts` describes the K types, `q*_k`.
 */

import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";
import { findScale, largest } from "../../tensor/find_scale.ts";
import { SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import { type Bits, type BlockLayout, packBlock } from "./block_layout.ts";
import { findSuperBlock, type SuperBlockGrid } from "./super_blocks.ts";

/** The weights of a block of the types `q*_0`. */
export const BLOCK_WEIGHTS = 32;

/** A type `q*_0`. The integers of a block are from −2^(bits − 1) to 2^(bits − 1) − 1. */
export interface BlockType extends BlockLayout {
  /** Rounds 32 weights as `gguf.quants.quantize` of the package `gguf` does. Returns d before its rounding to F16. */
  round(weights: Float32Array, integers: Int8Array): number;
}

/** A K type. */
export interface SuperBlockType extends BlockLayout, SuperBlockGrid {
  /** The type of rows whose length is not a multiple of 256. llama.cpp chooses a type of the same size. */
  readonly fallback: "q4_0" | "q5_0" | "q8_0";
}

export interface TensorType {
  /** The name that people use, such as `Q4_0`. */
  readonly label: string;
  /** The code in the entry of a tensor. */
  readonly code: number;
  /** The value of `general.file_type` for a file whose linear layers have this type. */
  readonly fileType: number;
  readonly format: BlockType | SuperBlockType | FloatDtype;
}

export const TENSOR_TYPES = {
  // The first half of the codes are the lower nibbles of 16 bytes, and the second half the upper ones.
  q4_0: blockType("Q4_0", 2, 2, 4, { at: (i) => [[2 + i % 16, 4 * (i >> 4), 4]] }),
  // Four bytes with the highest bits of the codes come before the nibbles.
  q5_0: blockType("Q5_0", 6, 8, 5, { at: (i) => [[6 + i % 16, 4 * (i >> 4), 4], [2 + (i >> 3), i & 7, 1]] }),
  q8_0: blockType("Q8_0", 8, 7, 8, { at: (i) => [[2 + i, 0, 8]], inverted: 128 }, roundBytes),
  // 16 bytes, each with a scale and above it a minimum; 64 bytes with the codes; d; dmin.
  q2_k: kType("Q2_K", 10, 10, {
    ...{ bits: 2, groupSize: 16, symmetric: false, scaleBits: 4, fallback: "q4_0", factorAt: 80 },
    codes: { at: (i) => [pairOf(i, 16)] },
    scales: { at: (group) => [[group, 0, 4]] },
    minimums: { at: (group) => [[group, 4, 4]] },
  }),
  // 32 bytes, in which bit ⌊i/32⌋ of byte i mod 32 is the upper bit of code i; 64 bytes with the lower two bits of the
  // codes; 12 bytes with the scales plus 32; d.
  q3_k: kType("Q3_K", 11, 11, {
    ...{ bits: 3, groupSize: 16, symmetric: true, scaleBits: 6, fallback: "q4_0", factorAt: 108 },
    codes: { at: (i) => [pairOf(i, 32), [i % 32, i >> 5, 1]] },
    scales: {
      at: (group) => [[96 + group % 8, 4 * (group >> 3), 4], [104 + group % 4, 2 * (group >> 2), 2]],
      inverted: 32,
    },
  }),
  // d; dmin; 12 bytes with the scales and minimums, of which the first eight bytes have the first four scales and
  // minimums, and above them the upper two bits of the last four; 128 bytes with the codes, 32 bytes per 64 weights.
  q4_k: kType("Q4_K", 12, 14, {
    ...{ bits: 4, groupSize: 32, symmetric: false, scaleBits: 6, fallback: "q5_0", factorAt: 0 },
    codes: { at: (i) => [[16 + 32 * (i >> 6) + i % 32, 4 * (i >> 5 & 1), 4]] },
    scales: { at: (group) => group < 4 ? [[4 + group, 0, 6]] : [[8 + group, 0, 4], [group, 6, 2]] },
    minimums: { at: (group) => group < 4 ? [[8 + group, 0, 6]] : [[8 + group, 4, 4], [4 + group, 6, 2]] },
  }),
  // 128 bytes with the lower four bits of the codes; 64 bytes with the upper two bits; the scales; d. In each half of 128
  // weights, weight i has nibble ⌊i/64⌋ of byte i mod 64, and the two bits from 2·⌊i/32⌋ of byte i mod 32.
  q6_k: kType("Q6_K", 14, 18, {
    ...{ bits: 6, groupSize: 16, symmetric: true, scaleBits: 8, fallback: "q8_0", factorAt: 208 },
    codes: { at: (i) => [[64 * (i >> 7) + i % 64, 4 * (i >> 6 & 1), 4], pairOf(i, 128)] },
    scales: { at: (group) => [[192 + group, 0, 8]] },
  }),
  f16: { label: "F16", code: 1, fileType: 1, format: "F16" },
  bf16: { label: "BF16", code: 30, fileType: 32, format: "BF16" },
  f32: { label: "F32", code: 0, fileType: 0, format: "F32" },
} as const satisfies Readonly<Record<string, TensorType>>;

export type TensorTypeName = keyof typeof TENSOR_TYPES;

export function hasSuperBlocks(format: TensorType["format"]): format is SuperBlockType {
  return typeof format !== "string" && "fallback" in format;
}

/** The weights of a block. A weight of a float type is a block of its own. */
function blockWeights(format: TensorType["format"]): number {
  if (typeof format === "string") return 1;
  return hasSuperBlocks(format) ? SUPER_BLOCK_COLUMNS : BLOCK_WEIGHTS;
}

/** The bytes of a row of `cols` weights. The columns must be a multiple of the weights of a block. */
export function rowBytes({ format }: TensorType, cols: number): number {
  if (typeof format === "string") return BYTES_PER_ELEMENT[format] * cols;
  return cols / blockWeights(format) * format.blockBytes;
}

/** Whether the type can store rows of `cols` weights. */
export function storesRows({ format }: TensorType, cols: number): boolean {
  return cols % blockWeights(format) === 0;
}

/** Packs blocks with exactly the weights of some rows. Returns undefined if no blocks have them. */
export function packExactly(
  format: BlockType | SuperBlockType,
  weights: Float32Array,
): Uint8Array<ArrayBuffer> | undefined {
  if (!hasSuperBlocks(format)) {
    const blocks = findBlocks(format, weights);
    return blocks && packBlocks(format, blocks);
  }
  const count = weights.length / SUPER_BLOCK_COLUMNS, packed = new Uint8Array(count * format.blockBytes);
  for (let i = 0; i < count; i++) {
    const own = weights.subarray(i * SUPER_BLOCK_COLUMNS, (i + 1) * SUPER_BLOCK_COLUMNS);
    const block = findSuperBlock(format, own);
    if (!block) return undefined;
    packed.set(packBlock(format, block), i * format.blockBytes);
  }
  return packed;
}

/** Returns the place of the lower two bits of code `i`, which are from byte `first` on. */
function pairOf(i: number, first: number): Bits {
  return [first + 32 * (i >> 7) + i % 32, 2 * (i >> 5 & 3), 2];
}

function blockType(
  label: string,
  code: number,
  fileType: number,
  bits: number,
  codes: BlockLayout["codes"],
  round = roundTo(bits),
) {
  const sizes = { groupSize: BLOCK_WEIGHTS, blockBytes: 2 + 4 * bits, factorAt: 0 };
  return { label, code, fileType, format: { bits, ...sizes, codes, round } };
}

function kType(
  label: string,
  code: number,
  fileType: number,
  layout: Omit<SuperBlockType, "blockBytes">,
) {
  const { bits, groupSize, symmetric, scaleBits } = layout;
  const listBytes = SUPER_BLOCK_COLUMNS / groupSize * scaleBits / 8 + 2; // an integer per group, and their factor
  const blockBytes = SUPER_BLOCK_COLUMNS * bits / 8 + (symmetric ? 1 : 2) * listBytes; // the second list is of minimums
  return { label, code, fileType, format: { ...layout, blockBytes } };
}

function roundTo(bits: number): BlockType["round"] {
  const middle = 2 ** (bits - 1);
  return (weights, integers) => {
    const d = Math.fround(largest(weights) / -middle), inverse = d === 0 ? 0 : Math.fround(1 / d);
    for (let i = 0; i < BLOCK_WEIGHTS; i++) {
      const code = Math.trunc(Math.fround(Math.fround(weights[i] * inverse) + (middle + 0.5)));
      integers[i] = Math.min(2 * middle - 1, Math.max(0, code)) - middle;
    }
    return d;
  };
}

function roundBytes(weights: Float32Array, integers: Int8Array): number {
  const d = Math.fround(Math.abs(largest(weights)) / 127), inverse = d === 0 ? 0 : Math.fround(1 / d);
  for (let i = 0; i < BLOCK_WEIGHTS; i++) {
    const value = Math.fround(weights[i] * inverse), magnitude = Math.abs(value);
    integers[i] = Math.sign(value) *
      (Math.floor(magnitude) + Math.floor(2 * (magnitude - Math.floor(magnitude))));
  }
  return d;
}

/** Integers with their factors, one per block. */
export interface Blocks {
  readonly integers: Int8Array;
  readonly factors: Float32Array;
}

/** Packs the blocks of some rows. The factors must be finite in F16. */
export function packBlocks(type: BlockType, { integers, factors }: Blocks): Uint8Array<ArrayBuffer> {
  const { bits, blockBytes } = type, middle = 2 ** (bits - 1);
  const packed = new Uint8Array(factors.length * blockBytes), codes = new Uint8Array(BLOCK_WEIGHTS);
  for (let i = 0; i < factors.length; i++) {
    for (let k = 0; k < BLOCK_WEIGHTS; k++) codes[k] = integers[i * BLOCK_WEIGHTS + k] + middle;
    packed.set(packBlock(type, { factor: factors[i], codes }), i * blockBytes);
  }
  return packed;
}

/** Rounds some rows to nearest. */
export function roundBlocks({ round }: BlockType, weights: Float32Array): Blocks {
  return fitBlocks(weights, round)!;
}

/** Finds blocks with exactly the weights of some rows, and factors in F16. Returns undefined if no blocks have them. */
export function findBlocks({ bits }: BlockType, weights: Float32Array): Blocks | undefined {
  return fitBlocks(weights, (own, integers) => findScale(own, integers, bits));
}

/** @param fit writes the integers of a block, and returns its factor, or undefined if it has none */
function fitBlocks(
  weights: Float32Array,
  fit: (weights: Float32Array, integers: Int8Array) => number | undefined,
): Blocks | undefined {
  const integers = new Int8Array(weights.length), factors = new Float32Array(weights.length / BLOCK_WEIGHTS);
  for (let i = 0; i < factors.length; i++) {
    const begin = i * BLOCK_WEIGHTS, end = begin + BLOCK_WEIGHTS;
    const factor = fit(weights.subarray(begin, end), integers.subarray(begin, end));
    if (factor === undefined) return undefined;
    factors[i] = factor;
  }
  return { integers, factors };
}
