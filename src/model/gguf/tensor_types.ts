/**
 * The types of tensors that Pare writes, as `ggml-common.h` in github.com/ggml-org/llama.cpp defines them. In the types
 * `q*_0`, each 32 weights of a row are a block of integers q with one factor d in F16, and d·q is a weight.
 * `super_blocks.ts` describes the K types, `q*_k`.
 */

import { BYTES_PER_ELEMENT, type FloatDtype, floatsToBytes } from "../../tensor/dtype.ts";
import { findScale, largest } from "../../tensor/find_scale.ts";
import { SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import {
  findSuperBlock,
  packQ2K,
  packQ3K,
  packQ4K,
  packQ6K,
  type SuperBlock,
  type SuperBlockGrid,
} from "./super_blocks.ts";

/** The weights of a block of the types `q*_0`. */
export const BLOCK_WEIGHTS = 32;

/** The integers of a block are from −2^(bits − 1) to 2^(bits − 1) − 1. */
export interface BlockType {
  readonly bits: number;
  /** The bytes of a block. The first two are d. */
  readonly blockBytes: number;
  /** Writes the 32 integers of a block after its factor. */
  pack(integers: Int8Array, block: Uint8Array): void;
  /** Rounds 32 weights as `gguf.quants.quantize` of the package `gguf` does. Returns d before its rounding to F16. */
  round(weights: Float32Array, integers: Int8Array): number;
}

/** A K type. */
export interface SuperBlockType extends SuperBlockGrid {
  /** The bytes of a super-block. */
  readonly blockBytes: number;
  /** The type of rows whose length is no multiple of 256. llama.cpp chooses a type of the same size. */
  readonly fallback: "q4_0" | "q5_0" | "q8_0";
  pack(block: SuperBlock): Uint8Array<ArrayBuffer>;
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
  q4_0: { label: "Q4_0", code: 2, fileType: 2, format: nibbles(4, packNibbles) },
  q5_0: { label: "Q5_0", code: 6, fileType: 8, format: nibbles(5, packNibblesAndBits) },
  q8_0: {
    label: "Q8_0",
    code: 8,
    fileType: 7,
    format: { bits: 8, blockBytes: 34, pack: (integers, block) => block.set(integers, 2), round: roundBytes },
  },
  q2_k: kType("Q2_K", 10, 10, { bits: 2, groupSize: 16, symmetric: false, scaleBits: 4 }, "q4_0", packQ2K),
  q3_k: kType("Q3_K", 11, 11, { bits: 3, groupSize: 16, symmetric: true, scaleBits: 6 }, "q4_0", packQ3K),
  q4_k: kType("Q4_K", 12, 14, { bits: 4, groupSize: 32, symmetric: false, scaleBits: 6 }, "q5_0", packQ4K),
  q6_k: kType("Q6_K", 14, 18, { bits: 6, groupSize: 16, symmetric: true, scaleBits: 8 }, "q8_0", packQ6K),
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
    packed.set(format.pack(block), i * format.blockBytes);
  }
  return packed;
}

function kType(
  label: string,
  code: number,
  fileType: number,
  grid: SuperBlockGrid,
  fallback: SuperBlockType["fallback"],
  pack: SuperBlockType["pack"],
) {
  const { bits, groupSize, symmetric, scaleBits } = grid;
  const listBytes = SUPER_BLOCK_COLUMNS / groupSize * scaleBits / 8 + 2; // an integer per group, and their factor
  const blockBytes = SUPER_BLOCK_COLUMNS * bits / 8 + (symmetric ? 1 : 2) * listBytes; // the second list is of minimums
  return { label, code, fileType, format: { ...grid, blockBytes, fallback, pack } };
}

function nibbles(bits: number, pack: BlockType["pack"]): BlockType {
  const middle = 2 ** (bits - 1);
  return {
    bits,
    blockBytes: bits === 4 ? 18 : 22,
    pack,
    round(weights, integers) {
      const d = Math.fround(largest(weights) / -middle), inverse = d === 0 ? 0 : Math.fround(1 / d);
      for (let i = 0; i < BLOCK_WEIGHTS; i++) {
        const code = Math.trunc(Math.fround(Math.fround(weights[i] * inverse) + (middle + 0.5)));
        integers[i] = Math.min(2 * middle - 1, Math.max(0, code)) - middle;
      }
      return d;
    },
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

/** The first half of the codes are the lower nibbles of 16 bytes, and the second half the upper ones. */
function packNibbles(integers: Int8Array, block: Uint8Array): void {
  for (let i = 0; i < 16; i++) block[2 + i] = integers[i] + 8 | integers[i + 16] + 8 << 4;
}

/** Four bytes with the highest bits of the codes come before the nibbles. */
function packNibblesAndBits(integers: Int8Array, block: Uint8Array): void {
  block.fill(0, 2, 6);
  for (let i = 0; i < BLOCK_WEIGHTS; i++) block[2 + (i >> 3)] |= (integers[i] + 16 >> 4) << (i & 7);
  for (let i = 0; i < 16; i++) block[6 + i] = integers[i] + 16 & 15 | (integers[i + 16] + 16 & 15) << 4;
}

/** Integers with their factors, one per block. */
export interface Blocks {
  readonly integers: Int8Array;
  readonly factors: Float32Array;
}

/** Packs the blocks of some rows. The factors must be finite in F16. */
export function packBlocks(
  { blockBytes, pack }: BlockType,
  { integers, factors }: Blocks,
): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(factors.length * blockBytes), halves = floatsToBytes(factors, "F16");
  for (let i = 0; i < factors.length; i++) {
    const block = packed.subarray(i * blockBytes, (i + 1) * blockBytes);
    block.set(halves.subarray(2 * i, 2 * i + 2));
    pack(integers.subarray(i * BLOCK_WEIGHTS, (i + 1) * BLOCK_WEIGHTS), block);
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
