/**
 * The layout `gptq`, which AutoGPTQ introduced, and which GPTQModel, vLLM, SGLang and the model builder of
 * onnxruntime-genai read. With B bits and groups of G inputs, a weight of shape (rows, cols) becomes
 *
 *     qweight  (cols·B/32, rows)  I32  the codes of a row, one below the other
 *     qzeros   (groups, rows·B/32)  I32  zero − 1 of every row of a group
 *     scales   (groups, rows)  F16
 *     g_idx    (cols)  I32  the group of every input, here ⌊input/G⌋
 *
 * and (code − zero)·scale is its value. A word has 32/B numbers, the first in its least significant bits. Readers add 1
 * to `qzeros` if `checkpoint_format` in config.json is "gptq". Here the zero is always 2^(B − 1).
 */

import { floatsToBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { packRows } from "./codes/packed_words.ts";
import { QUANTIZATION_KEY } from "./config/quantization_config.ts";
import type { TensorSpec } from "../../tensor/safetensors/encode.ts";
import type { SymmetricGrid } from "../packed/exact_codes.ts";
import type { PackedLayout, PackedWeight } from "../packed/packed_layout.ts";

/** A word of `qzeros` has the zeros of 8 rows if they have 4 bits. */
const ROWS_PER_WORD = 8;

export const GPTQ: PackedLayout = {
  name: "gptq",
  options: "--for gptq, which sets --bits 4 --group-size 32 --symmetric, --scale-dtype and --format",
  misfit: ({ rows }) =>
    rows % ROWS_PER_WORD === 0
      ? undefined
      : `has ${rows} rows, but gptq needs a multiple of ${ROWS_PER_WORD}`,
  specs,
  pack(weight, grid, { codes, scales }) {
    const { rows, cols } = weight, { bits, groupSize } = grid, groups = cols / groupSize;
    const words = new Uint32Array(packRows(codes, cols, bits).buffer);
    const zero = 2 ** (bits - 1) - 1, zeros = bits === 4 ? zero << 4 | zero : zero;
    const data = [
      new Uint8Array(transpose(words, rows).buffer),
      new Uint8Array(groups * rows * bits / 8).fill(zeros),
      floatsToBytes(transpose(scales, rows), "F16"),
      new Uint8Array(Int32Array.from({ length: cols }, (_, input) => Math.floor(input / groupSize)).buffer),
    ];
    const tensors = specs(weight, grid).map(({ name, dtype, shape }, i): [string, HostTensor] => [
      name,
      { dtype, shape, data: data[i] },
    ]);
    return new Map(tensors);
  },
  config: (config, _weights, { bits, groupSize }) => ({
    ...config,
    [QUANTIZATION_KEY]: {
      quant_method: "gptq",
      checkpoint_format: "gptq",
      bits,
      group_size: groupSize,
      sym: true,
      desc_act: false,
      pack_dtype: "int32",
      lm_head: false,
    },
  }),
};

function specs({ stem, rows, cols }: PackedWeight, { bits, groupSize }: SymmetricGrid): TensorSpec[] {
  const groups = cols / groupSize;
  return [
    { name: `${stem}.qweight`, dtype: "I32", shape: [cols * bits / 32, rows] },
    { name: `${stem}.qzeros`, dtype: "I32", shape: [groups, rows * bits / 32] },
    { name: `${stem}.scales`, dtype: "F16", shape: [groups, rows] },
    { name: `${stem}.g_idx`, dtype: "I32", shape: [cols] },
  ];
}

function transpose<Matrix extends Uint32Array | Float32Array>(matrix: Matrix, rows: number): Matrix {
  const cols = matrix.length / rows, transposed = matrix.slice() as Matrix;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) transposed[col * rows + row] = matrix[row * cols + col];
  }
  return transposed;
}
