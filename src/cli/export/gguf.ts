/** The formats `gguf:TYPE`: one GGUF file, whose linear layers have the type. */

import { PACK_QUANTIZED } from "../../model/checkpoint/quantized/config.ts";
import { PACKED_BITS } from "../../model/checkpoint/quantized/layout.ts";
import { BLOCK_WEIGHTS, TENSOR_TYPES, type TensorTypeName } from "../../model/gguf/tensor_types.ts";
import { describeModel, type GgufResult, writeGguf } from "../../model/gguf/write_gguf.ts";
import { bytesText } from "../../prune/report/format.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { ExportFormat, FormatTarget } from "./export_format.ts";

/** The file in the output folder of a run. */
const GGUF_FILE = "model.gguf";

/** Returns the format of files in which the linear layers have a type. */
export function ggufFormat(type: TensorTypeName): ExportFormat {
  const { format } = TENSOR_TYPES[type];
  return {
    output: "file",
    write: async (opened, out, options) => {
      const result = await writeGguf(opened, out, denoFileSystem, { ...options, type });
      return { facts: { ...result }, lines: describe(result, type) };
    },
    target: typeof format === "string" ? undefined : ggufTarget(format.bits),
  };
}

/** The format `pack-quantized` has no codes of 5 bits, so the run keeps dense weights. */
function ggufTarget(bits: number): FormatTarget {
  return {
    path: GGUF_FILE,
    options: {
      bits: [String(bits)],
      groupSize: [String(BLOCK_WEIGHTS)],
      symmetric: [true],
      format: [PACKED_BITS.includes(bits) ? PACK_QUANTIZED : "dense"],
    },
    check: async (opened, fs) => void await describeModel(opened, fs),
    howToRun: (path) => `run it with llama.cpp: llama-cli -m ${JSON.stringify(path)} -p "PROMPT"`,
  };
}

function describe({ architecture, layers, embeddings, bytes }: GgufResult, type: TensorTypeName): string[] {
  const { exact, rounded, inF16 } = layers, { label, format } = TENSOR_TYPES[type];
  const taken = typeof format === "string" ? "converted" : "with their own codes";
  const counts = [
    `${exact.length} ${taken}`,
    ...rounded.length > 0 ? [`${rounded.length} rounded to nearest`] : [],
  ];
  return [
    `${architecture}, ${bytesText(bytes)}: ${exact.length + rounded.length} layers in ${label} (${
      counts.join(", ")
    }), embeddings in ${embeddings}`,
    ...inF16.length === 0 ? [] : [`in F16 instead: ${inF16.join(", ")}`],
  ];
}
