/**
 * The format `gptq`, which AutoGPTQ introduced, and which GPTQModel, vLLM, SGLang and the model builder of
 * onnxruntime-genai read. The source is `TorchLinear` in github.com/ModelCloud/GPTQModel. `codes/column_codes.ts`
 * describes its tensors. A word has 32/B numbers, the first in its least significant bits. Readers add 1 to `qzeros` if
 * `checkpoint_format` in config.json is "gptq". Pare writes scales in F16, zeros of 2^(B − 1) and groups of consecutive inputs.
 */

import { floatsToBytes } from "../../tensor/dtype.ts";
import {
  COLUMN_BITS,
  type ColumnLayout,
  columnNames,
  columnWeight,
  columnWeights,
} from "./codes/column_codes.ts";
import { packRows, transpose } from "./codes/packed_words.ts";
import { unsupportedMember } from "./config/quantization_config.ts";
import type { WrittenFormat } from "./format.ts";

const LAYOUT: ColumnLayout = {
  packedAxis: "inputs",
  order: (bits) => Array.from({ length: 32 / bits }, (_, i) => i),
  storesZerosMinusOne: true,
};

export const GPTQ: WrittenFormat = {
  name: "gptq",
  method: "gptq",
  find(checkpoint, description) {
    const { folder } = checkpoint, { dynamic, pack_dtype: packDtype } = description;
    const format = description.checkpoint_format ?? description.format ?? "gptq";
    if (format !== "gptq" && format !== "gptq_v2") {
      throw unsupportedMember(folder, "checkpoint_format", "gptq or gptq_v2", format);
    }
    if ((packDtype ?? "int32") !== "int32") {
      throw unsupportedMember(folder, "pack_dtype", "int32 or absent", packDtype);
    }
    if (Object.keys(dynamic ?? {}).length > 0) {
      throw unsupportedMember(folder, "dynamic", "empty or absent", dynamic);
    }
    return columnWeights(checkpoint, description, { ...LAYOUT, storesZerosMinusOne: format === "gptq" });
  },
  writer: {
    bits: COLUMN_BITS,
    isUniform: true,
    scaleDtype: "F16",
    loadsOwnClasses: true,
    rowMultiple: 8, // a word of `qzeros` has the zeros of 8 rows if they have 4 bits
    specs({ name, rows, cols, bits, groupSize }) {
      const names = columnNames(name), count = cols / groupSize;
      return [
        { name: names.codes, dtype: "I32", shape: [cols * bits / 32, rows] },
        { name: names.zeros, dtype: "I32", shape: [count, rows * bits / 32] },
        { name: names.scales, dtype: "F16", shape: [count, rows] },
        { name: names.groups, dtype: "I32", shape: [cols] },
      ];
    },
    pack({ rows, cols, bits, groupSize }, { codes, scales }) {
      const words = new Uint32Array(packRows(codes, cols, bits).buffer), zeros = scales.length * bits / 8;
      const zero = 2 ** (bits - 1) - 1;
      return [
        new Uint8Array(transpose(words, rows).buffer),
        new Uint8Array(zeros).fill(bits === 4 ? zero << 4 | zero : zero),
        floatsToBytes(transpose(scales, rows), "F16"),
        new Uint8Array(Int32Array.from({ length: cols }, (_, input) => Math.floor(input / groupSize)).buffer),
      ];
    },
    stored: (weight) => columnWeight(weight, LAYOUT),
    describe: ([{ bits, groupSize }]) => ({
      quant_method: "gptq",
      checkpoint_format: "gptq",
      bits,
      group_size: groupSize,
      sym: true,
      desc_act: false,
      pack_dtype: "int32",
      lm_head: false,
    }),
  },
  howToLoad: (folder) => [
    `load it in Python, after pip install gptqmodel: from gptqmodel import GPTQModel; model = GPTQModel.load(${folder})`,
  ],
};
