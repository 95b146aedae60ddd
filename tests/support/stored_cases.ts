/**
 * Small checkpoints in every format of stored weights, with random codes, and the weights that they stand for. The weights are
 * computed one by one from the definitions of the formats, in float64, and share no code with `src`.
 */

import type { FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { COLUMN_CASES } from "./column_cases.ts";
import { count, integers, randomIntegers, randomScales, type StoredCase, tensorOf } from "./stored_case.ts";

/** The dense tensors that every checkpoint has besides. */
export const DENSE_TENSORS: Readonly<Record<string, HostTensor>> = {
  "x.bias": tensorOf("BF16", [3], [1, -2, 0.5]),
  "norm.weight": tensorOf("F32", [2], [1.5, 2.5]),
};

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

/** Two weights in the affine format of MLX with other grids, whose biases are no multiples of their scales. */
function mlxCase(): StoredCase {
  const rows = 3, cols = 64;
  const grids = { x: { bits: 3, group_size: 32 }, y: { bits: 8, group_size: 64 } };
  const parts = Object.entries(grids).map(([stem, { bits, group_size: size }], i) => {
    const codes = randomIntegers(rows * cols, 2 ** bits, 90 + i), shape = [rows, cols / size];
    const [scales, scale] = randomScales("F16", shape, 92 + i),
      [biases, bias] = randomScales("F16", shape, 94 + i);
    // A row is one number, whose lowest bits are the first code.
    const words = Array.from({ length: rows }, (_, row) => {
      const whole = codes.slice(row * cols, (row + 1) * cols).reduceRight(
        (sum, code) => sum * BigInt(2 ** bits) + BigInt(code),
        0n,
      );
      return Array.from(
        { length: cols * bits / 32 },
        (_, word) => Number(whole >> BigInt(32 * word) & 0xffffffffn),
      );
    });
    const values = codes.map((code, at) => {
      const grid = Math.floor(at / size);
      return code * scales[grid] + biases[grid];
    });
    return {
      tensors: {
        [`${stem}.weight`]: integers(Uint32Array.from(words.flat()), [rows, cols * bits / 32], "U32"),
        [`${stem}.scales`]: scale,
        [`${stem}.biases`]: bias,
      },
      weights: { [`${stem}.weight`]: tensorOf("F16", [rows, cols], values) },
    };
  });
  return {
    title: "mlx, two grids",
    config: { quantization: { ...grids.x, y: grids.y, z: false } },
    tensors: Object.assign({}, ...parts.map(({ tensors }) => tensors)),
    weights: Object.assign({}, ...parts.map(({ weights }) => weights)),
  };
}

export const STORED_CASES: readonly StoredCase[] = [...BLOCK_CASES, mxfp4Case(), mlxCase(), ...COLUMN_CASES];
