/**
 * The table of the formats of other programs, from which the values of `pare export --format` and of `pare prune --for`
 * follow. To add a format, add an entry here, or for a type of tensors in GGUF files to `TENSOR_TYPES`.
 */

import { PACK_QUANTIZED } from "../../model/formats/config/quantization_config.ts";
import { countPlannedBytes } from "../../model/checkpoint/write/write_plan.ts";
import { REPORT_FILES } from "../../prune/report/file_names.ts";
import { PACKED_BITS } from "../../model/formats/codes/packed_layout.ts";
import { TENSOR_TYPES, type TensorTypeName } from "../../model/gguf/tensor_types.ts";
import { GROUP_SIZES } from "../../model/packed/exact_codes.ts";
import { GPTQ } from "../../model/formats/gptq.ts";
import { PACK_QUANTIZED_LAYOUT } from "../../model/packed/pack_quantized.ts";
import { packedWeights, planPacked } from "../../model/packed/write_packed.ts";
import type { ExportFormat } from "./export_format.ts";
import { ggufFormat } from "./gguf.ts";
import { packedFormat } from "./packed.ts";

const GGUF = Object.fromEntries(
  Object.keys(TENSOR_TYPES).map((type) => [`gguf:${type}`, ggufFormat(type as TensorTypeName)]),
) as Record<`gguf:${TensorTypeName}`, ExportFormat>;

export const FORMATS = {
  ...GGUF,
  "gptq": packedFormat(GPTQ, {
    path: "gptq",
    options: {
      bits: PACKED_BITS.map(String),
      groupSize: GROUP_SIZES.map(String).reverse(),
      symmetric: [true],
      format: [PACK_QUANTIZED, "dense"],
    },
    roundsAll: true,
    plan: async (opened, fs, { queries }) => {
      const [{ bits, group_size }] = queries.values(); // all layers have the same grid
      const grid = { bits: bits!, groupSize: group_size! };
      const files = await countPlannedBytes(planPacked(opened, fs, GPTQ, grid), fs, REPORT_FILES);
      return { files: new Map([...files].map(([name, bytes]) => [`gptq/${name}`, bytes])), lines: [] };
    },
    check: ({ checkpoint, model }) => void packedWeights(checkpoint.folder, model, GPTQ),
    howToRun: (path) =>
      `load it in Python, after pip install gptqmodel: from gptqmodel import GPTQModel; model = GPTQModel.load(${
        JSON.stringify(path)
      })`,
  }),
  [PACK_QUANTIZED]: packedFormat(PACK_QUANTIZED_LAYOUT),
} as const satisfies Readonly<Record<string, ExportFormat>>;

export type FormatName = keyof typeof FORMATS;

/** The values of `pare export --format`. */
export const EXPORT_FORMATS = Object.keys(FORMATS) as FormatName[];

/** The values of `pare prune --for`. */
export const RUNTIME_FORMATS = EXPORT_FORMATS.filter((name) => FORMATS[name].target);
