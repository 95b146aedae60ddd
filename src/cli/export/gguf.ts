/** The formats `gguf:TYPE`: one GGUF file, whose linear layers have the type. */

import { basename } from "node:path";
import { repositoryOf } from "../../model/hub/reference.ts";
import {
  BLOCK_WEIGHTS,
  type BlockType,
  hasSuperBlocks,
  type SuperBlockType,
  TENSOR_TYPES,
  type TensorType,
  type TensorTypeName,
} from "../../model/gguf/tensor_types.ts";
import { gridColumns } from "../../model/gguf/blocks.ts";
import type { LayerCounts } from "../../model/gguf/plan_tensors.ts";
import { checkModel, type GgufResult, writeGguf } from "../../model/gguf/write_gguf.ts";
import { GGUF_FILE, planGgufOutput } from "../../prune/run/gguf_output.ts";
import { bytesText } from "../../prune/report/format.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { ExportFormat } from "./export_format.ts";

export function ggufFormat(type: TensorTypeName): ExportFormat {
  const { format } = TENSOR_TYPES[type];
  return {
    output: "file",
    write: async (opened, out, options) => {
      const name = generalName(options.name);
      const result = await writeGguf(opened, out, denoFileSystem, { ...options, name, type });
      return { facts: { ...result }, lines: describe(result, type) };
    },
    ...typeof format !== "string" && ggufTarget(type, format),
  };
}

/** Returns the name in the file of a model that is named `name` in reports. */
function generalName(name: string): string {
  return basename(repositoryOf(name) ?? name);
}

function ggufTarget(
  type: TensorTypeName,
  format: BlockType | SuperBlockType,
): Pick<ExportFormat, "options" | "file"> {
  const hasLevels = hasSuperBlocks(format), { bits } = format;
  const groupSize = gridColumns(format), symmetric = !hasLevels || format.symmetric;
  const scaleBits = hasLevels ? format.scaleBits : undefined;
  return {
    options: {
      bits: [String(bits)],
      groupSize: [String(groupSize)],
      symmetric: [symmetric],
      ...hasLevels && { scaleBits: [String(scaleBits)] },
      format: ["dense"],
    },
    file: {
      path: GGUF_FILE,
      queryOf({ name, cols }, query) {
        if (query.bits !== undefined) {
          requireGrid(type, name, query, { bits, group_size: groupSize, symmetric, scale_bits: scaleBits });
        }
        return hasLevels && cols % SUPER_BLOCK_COLUMNS !== 0 ? fallbackQuery(query, format) : query;
      },
      check: checkModel,
      plan: async (opened, fs, { name, queries }) => {
        const options = { name: generalName(name), type, round: false, rounded: queries };
        const { result, output } = await planGgufOutput(opened, fs, options);
        return { lines: describe(result, type), output };
      },
      howToRun: (path) =>
        `run it with llama.cpp (https://github.com/ggml-org/llama.cpp): llama-cli -m ${
          JSON.stringify(path)
        } -p "PROMPT"`,
    },
  };
}

/** @throws {UsageError} if the layer `name` has another grid, for example by a profile. By default, grids are not symmetric */
function requireGrid(
  type: TensorTypeName,
  name: string,
  { symmetric = false, ...query }: LayerQuery,
  grid: LayerQuery,
) {
  const given: LayerQuery = { ...query, symmetric };
  for (const [parameter, wanted] of Object.entries(grid) as [keyof LayerQuery, unknown][]) {
    const value = given[parameter];
    if (value === wanted) continue;
    throw new UsageError(
      `option --for gguf:${type}: ${parameter} must be ${wanted ?? "absent"}, but is ${
        value ?? "absent"
      } for ${name}`,
    );
  }
}

/** Replaces the grid of a K type by the grid of its fallback. */
function fallbackQuery(query: LayerQuery, { fallback }: SuperBlockType): LayerQuery {
  const { scale_bits: _bits, ...others } = query, { bits } = TENSOR_TYPES[fallback].format;
  return { ...others, bits, group_size: BLOCK_WEIGHTS, symmetric: true };
}

function describe(
  { architecture, layers, embeddings, bytes, remark }: GgufResult,
  type: TensorTypeName,
): string[] {
  const { exact, rounded } = layers, { label, format } = TENSOR_TYPES[type];
  const taken = typeof format === "string" ? "converted" : "with their own codes";
  const counts = [
    `${exact.length} ${taken}`,
    ...rounded.length > 0 ? [`${rounded.length} rounded to nearest`] : [],
  ];
  return [
    `${architecture}, ${bytesText(bytes)}: ${exact.length + rounded.length} layers in ${label} (${
      counts.join(", ")
    }), embeddings in ${embeddings}`,
    ...otherTypes(layers, format),
    ...remark === undefined ? [] : [remark],
  ];
}

/** Counts the layers that do not get the type with `format`, in one line per type. */
function otherTypes({ inFallback, inF16 }: LayerCounts, format: TensorType["format"]): string[] {
  const others = [
    ...hasSuperBlocks(format)
      ? [
        [
          inFallback,
          `${
            TENSOR_TYPES[format.fallback].label
          } instead, because their rows are not a multiple of ${SUPER_BLOCK_COLUMNS}`,
        ] as const,
      ]
      : [],
    [inF16, "F16 instead, because they have no codes that fit"] as const,
  ];
  return others.flatMap(([names, text]) =>
    names.length === 0 ? [] : [`${names.length} layers in ${text}, such as ${names[0]}`]
  );
}
