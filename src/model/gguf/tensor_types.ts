/**
 * The types of tensors that Pare writes, as `ggml-common.h` in github.com/ggml-org/llama.cpp defines them. In the types
 * `q*_0`, each 32 weights of a row are a block of integers q with one factor d in F16, and d·q is a weight.
 *
 * In the K types, the 256 weights of a super-block share a factor d in F16. Each of its groups has an integer n, and an
 * integer m in the types with minimums. A weight with the code q is n·(q − middle)·d, or n·q·d − m·dmin with minimums.
 * Pare writes dmin = middle·d, where the middle is 2^(bits − 1), so every weight is an integer times d. Grids whose
 * scales have two levels are such grids (`tensor/quantization.ts`).
 */

import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";
import { SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import { type Bits, type BlockLayout, places } from "./block_layout.ts";

/** The weights of a block of the types `q*_0`. */
export const BLOCK_WEIGHTS = 32;

/** A type `q*_0`. The integers of a block are from −2^(bits − 1) to 2^(bits − 1) − 1. */
export interface BlockType extends BlockLayout {
  /** How `gguf.quants.quantize` of the package `gguf` chooses d. */
  readonly rounding: "largest weight" | "largest magnitude";
}

/** A K type. */
export interface SuperBlockType extends BlockLayout {
  readonly groupSize: number;
  /** Whether the groups have no minimums. The integers n are then signed. */
  readonly symmetric: boolean;
  readonly scaleBits: number;
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
  q4_0: blockType("Q4_0", 2, 2, 4, places(BLOCK_WEIGHTS, (i) => [[2 + i % 16, 4 * (i >> 4), 4]])),
  // Four bytes with the highest bits of the codes come before the nibbles.
  q5_0: blockType(
    "Q5_0",
    6,
    8,
    5,
    places(BLOCK_WEIGHTS, (i) => [[6 + i % 16, 4 * (i >> 4), 4], [2 + (i >> 3), i & 7, 1]]),
  ),
  q8_0: blockType("Q8_0", 8, 7, 8, places(BLOCK_WEIGHTS, (i) => [[2 + i, 0, 8]], 128), "largest magnitude"),
  // 16 bytes, each with a scale and above it a minimum; 64 bytes with the codes; d; dmin.
  q2_k: kType("Q2_K", 10, 10, {
    ...{ bits: 2, groupSize: 16, symmetric: false, scaleBits: 4, fallback: "q4_0", factorAt: 80 },
    codes: places(256, (i) => [pairOf(i, 16)]),
    scales: places(16, (group) => [[group, 0, 4]]),
    minimums: places(16, (group) => [[group, 4, 4]]),
  }),
  // 32 bytes, in which bit ⌊i/32⌋ of byte i mod 32 is the upper bit of code i; 64 bytes with the lower two bits of the
  // codes; 12 bytes with the scales plus 32; d.
  q3_k: kType("Q3_K", 11, 11, {
    ...{ bits: 3, groupSize: 16, symmetric: true, scaleBits: 6, fallback: "q4_0", factorAt: 108 },
    codes: places(256, (i) => [pairOf(i, 32), [i % 32, i >> 5, 1]]),
    scales: places(
      16,
      (group) => [[96 + group % 8, 4 * (group >> 3), 4], [104 + group % 4, 2 * (group >> 2), 2]],
      32,
    ),
  }),
  // d; dmin; 12 bytes with the scales and minimums, of which the first eight bytes have the first four scales and
  // minimums, and above them the upper two bits of the last four; 128 bytes with the codes, 32 bytes per 64 weights.
  q4_k: kType("Q4_K", 12, 14, {
    ...{ bits: 4, groupSize: 32, symmetric: false, scaleBits: 6, fallback: "q5_0", factorAt: 0 },
    codes: places(256, (i) => [[16 + 32 * (i >> 6) + i % 32, 4 * (i >> 5 & 1), 4]]),
    scales: places(8, (group) => group < 4 ? [[4 + group, 0, 6]] : [[8 + group, 0, 4], [group, 6, 2]]),
    minimums: places(8, (group) => group < 4 ? [[8 + group, 0, 6]] : [[8 + group, 4, 4], [4 + group, 6, 2]]),
  }),
  // 128 bytes with the lower four bits of the codes; 64 bytes with the upper two bits; the scales; d. In each half of 128
  // weights, weight i has nibble ⌊i/64⌋ of byte i mod 64, and the two bits from 2·⌊i/32⌋ of byte i mod 32.
  q6_k: kType("Q6_K", 14, 18, {
    ...{ bits: 6, groupSize: 16, symmetric: true, scaleBits: 8, fallback: "q8_0", factorAt: 208 },
    codes: places(256, (i) => [[64 * (i >> 7) + i % 64, 4 * (i >> 6 & 1), 4], pairOf(i, 128)]),
    scales: places(16, (group) => [[192 + group, 0, 8]]),
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
  rounding: BlockType["rounding"] = "largest weight",
) {
  return { label, code, fileType, format: { bits, blockBytes: 2 + 4 * bits, factorAt: 0, codes, rounding } };
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
