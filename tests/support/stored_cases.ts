/**
 * Small checkpoints in every format of stored weights, with random codes, and the weights that they stand for. The weights are
 * computed one by one from the definitions of the formats, in float64, and share no code with `src`.
 */

import type { FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { uniform } from "./random.ts";

export interface StoredCase {
  readonly title: string;
  /** The content of config.json. */
  readonly config: {
    readonly quantization_config: Readonly<Record<string, unknown>>;
    readonly dtype?: string;
  };
  readonly tensors: Readonly<Record<string, HostTensor>>;
  readonly weights: Readonly<Record<string, HostTensor>>;
}

/** The dense tensors that every checkpoint has besides. */
export const DENSE_TENSORS: Readonly<Record<string, HostTensor>> = {
  "x.bias": tensorOf("BF16", [3], [1, -2, 0.5]),
  "norm.weight": tensorOf("F32", [2], [1.5, 2.5]),
};

/** Returns a tensor with these values, rounded to `dtype` from f32. */
function tensorOf(dtype: FloatDtype, shape: readonly number[], values: readonly number[]): HostTensor {
  const data = dtype === "F32"
    ? new Float32Array(values)
    : dtype === "F16"
    ? Float16Array.from(new Float32Array(values))
    : Uint16Array.from(values, nearestBfloat16);
  return { dtype, shape, data: new Uint8Array(data.buffer) };
}

/** Returns the bits of the BF16 number next to a value in f32. Of two numbers that are equally near, it is the one with an even last bit. */
function nearestBfloat16(exact: number): number {
  const bits = new Uint32Array(1), float = new Float32Array(bits.buffer);
  float[0] = exact;
  const value = float[0], below = bits[0] >>> 16;
  const [low, high] = [below, below + 1].map((half) => {
    bits[0] = half << 16;
    return Math.abs(float[0] - value);
  });
  return low < high || low === high && below % 2 === 0 ? below : below + 1;
}

function integers(
  data: Int8Array | Uint8Array | Int32Array | Uint32Array,
  shape: readonly number[],
  dtype: HostTensor["dtype"],
) {
  return { dtype, shape, data: new Uint8Array(data.buffer as ArrayBuffer) };
}

const count = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

/** Returns random integers from 0 to `limit − 1`. */
function randomIntegers(length: number, limit: number, seed: number): number[] {
  const next = uniform(seed);
  return Array.from({ length }, () => Math.floor(next() * limit));
}

/** Returns random scales with signs, as numbers of `dtype`, and the tensor with them. */
function randomScales(dtype: FloatDtype, shape: readonly number[], seed: number): [number[], HostTensor] {
  const next = uniform(seed), values = Array.from({ length: count(shape) }, () => (next() - 0.3) / 64);
  const tensor = tensorOf(dtype, shape, values);
  if (dtype === "F32") return [[...new Float32Array(tensor.data.buffer)], tensor];
  if (dtype === "F16") return [[...new Float16Array(tensor.data.buffer)], tensor];
  const wide = Uint32Array.from(new Uint16Array(tensor.data.buffer), (half) => half << 16);
  return [[...new Float32Array(wide.buffer)], tensor];
}

/** Returns the number of a byte in E4M3, which must not be NaN. */
function float8(byte: number): number {
  const sign = byte & 128 ? -1 : 1, exponent = (byte & 0b1111000) / 8, eighths = byte & 0b111;
  return exponent === 0 ? sign * eighths * 2 ** -9 : sign * (8 + eighths) * 2 ** (exponent - 10);
}

const isNumber = (byte: number) => (byte & 127) === 127 ? byte - 1 : byte;

interface BlockCase {
  readonly title: string;
  readonly quantization: Readonly<Record<string, unknown>>;
  readonly name?: string;
  readonly suffix: string;
  readonly codes: "F8_E4M3" | "I8";
  readonly shape: readonly number[];
  /** The rows and columns with one scale. */
  readonly block: readonly [number, number];
  readonly scaleDtype: FloatDtype | "F8_E8M0";
  /** The shape of the scales, if extents of 1 are missing. */
  readonly scaleShape?: readonly number[];
  readonly hasZeros?: boolean;
  readonly dtype?: string;
  readonly seed: number;
  readonly more?: Readonly<Record<string, HostTensor>>;
}

function blockCase(
  { title, quantization, name = "x.weight", shape, block, scaleDtype, seed, ...options }: BlockCase,
): StoredCase {
  const { codes, dtype = "bfloat16", suffix, hasZeros, more } = options;
  const [rows, cols] = shape.slice(-2), grid = [Math.ceil(rows / block[0]), Math.ceil(cols / block[1])];
  const bytes = randomIntegers(count(shape), 256, seed).map(codes === "I8" ? Number : isNumber);
  const scaleShape = options.scaleShape ?? [...shape.slice(0, -2), ...grid];
  const exponents = randomIntegers(count(scaleShape), 12, seed + 1).map((exponent) => exponent + 112);
  const [scales, scale] = scaleDtype === "F8_E8M0"
    ? [
      exponents.map((exponent) => 2 ** (exponent - 127)),
      integers(Uint8Array.from(exponents), scaleShape, "F8_E8M0"),
    ]
    : randomScales(scaleDtype, scaleShape, seed + 1);
  const zeros = Int8Array.from(randomIntegers(scales.length, 256, seed + 2));
  const values = bytes.map((byte, i) => {
    const row = Math.floor(i / cols), matrix = Math.floor(row / rows);
    const at = (matrix * grid[0] + Math.floor(row % rows / block[0])) * grid[1] +
      Math.floor(i % cols / block[1]);
    const code = codes === "I8" ? byte << 24 >> 24 : float8(byte);
    return (code - (hasZeros ? zeros[at] : 0)) * scales[at];
  });
  const isTyped = (scaleDtype === "F16" || scaleDtype === "BF16") && quantization.quant_method !== "fp8";
  const wanted = isTyped ? scaleDtype : dtype === "float32" ? "F32" : "BF16";
  return {
    title,
    config: { dtype, quantization_config: quantization },
    tensors: {
      [name]: integers(Uint8Array.from(bytes), shape, codes),
      [name + suffix]: scale,
      ...hasZeros && { [`${name}_zero_point`]: integers(zeros, scaleShape, "I8") },
      ...more,
    },
    weights: { [name]: tensorOf(wanted, shape, values) },
  };
}

const compressed = (format: string, weights: object, activations: object | null = null) => ({
  quant_method: "compressed-tensors",
  format,
  quantization_status: "compressed",
  config_groups: {
    group_0: { targets: ["Linear"], weights, input_activations: activations, output_activations: null },
  },
  ignore: ["lm_head"],
  kv_cache_scheme: null,
});
const FLOAT8 = { num_bits: 8, type: "float", symmetric: true, dynamic: false };
const FP8 = { quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic" };
const scalar = tensorOf("F32", [], [0.25]);

const BLOCK_CASES: readonly StoredCase[] = [
  blockCase({
    ...{ title: "fp8, blocks of 128 × 128 with rests", suffix: "_scale_inv", codes: "F8_E4M3", seed: 1 },
    ...{ shape: [200, 300], block: [128, 128], scaleDtype: "F32" },
    quantization: { ...FP8, weight_block_size: [128, 128] },
  }),
  blockCase({
    ...{
      title: "fp8, small blocks, scales that are powers of two",
      suffix: "_scale_inv",
      codes: "F8_E4M3",
      seed: 2,
    },
    ...{ shape: [48, 40], block: [16, 8], scaleDtype: "F8_E8M0" },
    quantization: { ...FP8, weight_block_size: [16, 8], scale_fmt: "ue8m0" },
  }),
  blockCase({
    ...{ title: "fp8, fused experts, written in F32", suffix: "_scale_inv", codes: "F8_E4M3", seed: 3 },
    ...{
      name: "experts.gate_up_proj",
      shape: [3, 32, 48],
      block: [16, 16],
      scaleDtype: "F32",
      dtype: "float32",
    },
    quantization: { ...FP8, weight_block_size: [16, 16] },
  }),
  blockCase({
    ...{ title: "fp8, one scale per tensor", suffix: "_scale_inv", codes: "F8_E4M3", seed: 4 },
    ...{ shape: [9, 31], block: [9, 31], scaleDtype: "F32", scaleShape: [] },
    ...{
      quantization: { ...FP8, activation_scheme: "static", weight_block_size: null },
      more: { "x.activation_scale": scalar },
    },
  }),
  blockCase({
    ...{ title: "fp8, scales in BF16, written in F32", suffix: "_scale_inv", codes: "F8_E4M3", seed: 11 },
    ...{ shape: [32, 48], block: [16, 16], scaleDtype: "BF16", dtype: "float32" },
    quantization: { ...FP8, weight_block_size: [16, 16] },
  }),
  blockCase({
    ...{ title: "fbgemm_fp8, one scale per channel", suffix: "_scale", codes: "F8_E4M3", seed: 5 },
    ...{ shape: [9, 31], block: [1, 31], scaleDtype: "F32", quantization: { quant_method: "fbgemm_fp8" } },
  }),
  blockCase({
    ...{ title: "float-quantized, per channel", suffix: "_scale", codes: "F8_E4M3", seed: 6 },
    ...{ shape: [17, 24], block: [1, 24], scaleDtype: "BF16", more: { "x.input_scale": scalar } },
    quantization: compressed("float-quantized", { ...FLOAT8, strategy: "channel" }, {
      ...FLOAT8,
      strategy: "tensor",
    }),
  }),
  blockCase({
    ...{ title: "float-quantized, per tensor", suffix: "_scale", codes: "F8_E4M3", seed: 7 },
    ...{ shape: [17, 24], block: [17, 24], scaleDtype: "F16", scaleShape: [1] },
    quantization: compressed("float-quantized", { ...FLOAT8, strategy: "tensor" }),
  }),
  ...[[16, 32], "16x32"].map((block_structure) =>
    blockCase({
      ...{
        title: `float-quantized, blocks of ${JSON.stringify(block_structure)}`,
        suffix: "_scale",
        seed: 8,
      },
      ...{ codes: "F8_E4M3", shape: [40, 50], block: [16, 32], scaleDtype: "BF16" },
      quantization: compressed("float-quantized", { ...FLOAT8, strategy: "block", block_structure }),
    })
  ),
  blockCase({
    ...{ title: "int-quantized, per channel", suffix: "_scale", codes: "I8", seed: 9 },
    ...{ shape: [17, 24], block: [1, 24], scaleDtype: "BF16" },
    quantization: compressed("int-quantized", {
      num_bits: 8,
      type: "int",
      symmetric: true,
      strategy: "channel",
    }),
  }),
  blockCase({
    ...{ title: "naive-quantized, groups with zeros", suffix: "_scale", codes: "I8", seed: 10 },
    ...{ shape: [11, 24], block: [1, 8], scaleDtype: "F16", hasZeros: true },
    quantization: compressed("naive-quantized", {
      ...{ num_bits: 8, type: "int", symmetric: false, strategy: "group", group_size: 8 },
    }),
  }),
];

/** The numbers of the codes of E2M1 without the sign. */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

function mxfp4Case(): StoredCase {
  const [experts, outputs, groups] = [3, 10, 2], inputs = groups * 32;
  const blocks = randomIntegers(experts * outputs * groups * 16, 256, 20);
  const scales = randomIntegers(experts * outputs * groups, 30, 21).map((exponent) => exponent + 100);
  scales[0] = 0; // the smallest power of two, 2^−127
  const values = Array.from({ length: experts * inputs * outputs }, (_, i) => {
    const output = i % outputs,
      input = Math.floor(i / outputs) % inputs,
      expert = Math.floor(i / (inputs * outputs));
    const group = (expert * outputs + output) * groups + Math.floor(input / 32),
      byte = blocks[group * 16 + Math.floor(input % 32 / 2)];
    const code = input % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
    return (code >= 8 ? -1 : 1) * E2M1[code % 8] * 2 ** (scales[group] - 127);
  });
  const name = "experts.down_proj";
  return {
    title: "mxfp4, fused experts",
    config: { quantization_config: { quant_method: "mxfp4", modules_to_not_convert: ["lm_head"] } },
    tensors: {
      [`${name}_blocks`]: integers(Uint8Array.from(blocks), [experts, outputs, groups, 16], "U8"),
      [`${name}_scales`]: integers(Uint8Array.from(scales), [experts, outputs, groups], "U8"),
    },
    weights: { [name]: tensorOf("BF16", [experts, inputs, outputs], values) },
  };
}

interface ColumnCase {
  readonly format: "gptq" | "gptq_v2" | "awq";
  readonly bits: number;
  readonly groupSize: number;
  readonly hasOrder?: boolean;
  readonly scaleDtype?: FloatDtype;
  readonly seed: number;
}

/** Places the codes of a row of words. `order[i]` is the position of number i in its word. */
function packWords(codes: readonly number[], bits: number, order: readonly number[]): number[] {
  const words: number[] = [];
  for (let at = 0; at < codes.length; at += order.length) {
    const digits = order.map((position, i) => codes[at + i] * 2 ** (bits * position));
    words.push(digits.reduce((sum, digit) => sum + digit));
  }
  return words;
}

function columnCase({ format, bits, groupSize, hasOrder, scaleDtype = "F16", seed }: ColumnCase): StoredCase {
  const [inputs, outputs] = [64, 24], groups = groupSize === -1 ? 1 : inputs / groupSize, perWord = 32 / bits;
  const codes = randomIntegers(inputs * outputs, 2 ** bits, seed), isAwq = format === "awq";
  const zeros = randomIntegers(groups * outputs, 2 ** bits, seed + 1);
  const [scales, scale] = randomScales(scaleDtype, [groups, outputs], seed + 2);
  const random = randomIntegers(inputs, groups, seed + 3);
  const groupOf = Array.from(
    { length: inputs },
    (_, i) => hasOrder ? random[i] : Math.floor(i * groups / inputs),
  );
  const inSequence = Array.from({ length: perWord }, (_, i) => i);
  const order = !isAwq ? inSequence : bits === 4 ? [0, 4, 1, 5, 2, 6, 3, 7] : [0, 2, 1, 3];
  // Words of `gptq` are those of the zeros minus a 1 in every code, so that a code of 0 borrows from the next one.
  const ones = format === "gptq" ? inSequence.reduce((sum, i) => sum + 2 ** (bits * i), 0) : 0;
  const zeroWords = Uint32Array.from(
    packWords(zeros, bits, order),
    (word) => (word - ones + 2 ** 32) % 2 ** 32,
  );
  const columns = Array.from(
    { length: outputs },
    (_, output) =>
      packWords(
        Array.from({ length: inputs }, (_, input) => codes[input * outputs + output]),
        bits,
        inSequence,
      ),
  );
  const words = isAwq
    ? packWords(codes, bits, order)
    : columns[0].flatMap((_, word) => columns.map((column) => column[word]));
  const values = Array.from({ length: outputs * inputs }, (_, i) => {
    const output = Math.floor(i / inputs), input = i % inputs, grid = groupOf[input] * outputs + output;
    return (codes[input * outputs + output] - zeros[grid]) * scales[grid];
  });
  const description = isAwq
    ? { quant_method: "awq", version: "gemm", zero_point: true, bits, group_size: groupSize }
    : {
      quant_method: "gptq",
      checkpoint_format: format,
      bits,
      group_size: groupSize,
      desc_act: hasOrder ?? false,
    };
  return {
    title: `${format}, ${bits} bits in groups of ${groupSize}${hasOrder ? " in activation order" : ""}`,
    config: { dtype: "float16", quantization_config: description },
    tensors: {
      "x.qweight": integers(
        Uint32Array.from(words),
        isAwq ? [inputs, outputs / perWord] : [inputs / perWord, outputs],
        "I32",
      ),
      "x.qzeros": integers(zeroWords, [groups, outputs / perWord], "I32"),
      "x.scales": scale,
      ...hasOrder && { "x.g_idx": integers(Int32Array.from(groupOf), [inputs], "I32") },
    },
    weights: { "x.weight": tensorOf(scaleDtype === "F32" ? "F16" : scaleDtype, [outputs, inputs], values) },
  };
}

const COLUMN_CASES = [
  columnCase({ format: "gptq", bits: 4, groupSize: 16, seed: 30 }),
  columnCase({ format: "gptq", bits: 8, groupSize: -1, seed: 40 }),
  columnCase({ format: "gptq", bits: 4, groupSize: 16, hasOrder: true, scaleDtype: "BF16", seed: 50 }),
  columnCase({ format: "gptq_v2", bits: 8, groupSize: 32, hasOrder: true, seed: 60 }),
  columnCase({ format: "awq", bits: 4, groupSize: 16, seed: 70 }),
  columnCase({ format: "awq", bits: 8, groupSize: 64, scaleDtype: "F32", seed: 80 }),
];

export const STORED_CASES: readonly StoredCase[] = [...BLOCK_CASES, mxfp4Case(), ...COLUMN_CASES];
