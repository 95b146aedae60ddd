/**
 * The option `--for` of `pare prune`, which names the type of a GGUF file. The run rounds weights to the grid of this type, so that the file
 * has exactly the weights of the run.
 */

import { basename } from "node:path";
import type { FileSystem } from "../../base/files/file_system.ts";
import { PACK_QUANTIZED } from "../../model/checkpoint/quantized/config.ts";
import { BLOCK_WEIGHTS, TENSOR_TYPES } from "../../model/gguf/tensor_types.ts";
import { describeModel, writeGguf } from "../../model/gguf/write_gguf.ts";
import { type ModelFolder, openModelFolder } from "../../model/model.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { UsageError } from "../errors.ts";
import { exportLines, tensorTypeOf } from "../export.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { Output } from "../terminal/output.ts";

/** The file in the output folder. */
export const GGUF_FILE = "model.gguf";

/** The values of `--for`. */
export const RUNTIME_FORMATS = ["gguf:q4_0", "gguf:q5_0", "gguf:q8_0"] as const;

export type RuntimeFormat = (typeof RUNTIME_FORMATS)[number];

function bitsOf(runtime: RuntimeFormat): number {
  return TENSOR_TYPES[tensorTypeOf(runtime) as "q4_0" | "q5_0" | "q8_0"].format.bits;
}

/** Returns the options that `--for` sets. The format `pack-quantized` has no codes of 5 bits. */
export function optionsForRuntime(runtime: RuntimeFormat): Record<string, string | boolean> {
  const bits = bitsOf(runtime);
  return {
    bits: String(bits),
    groupSize: String(BLOCK_WEIGHTS),
    symmetric: true,
    format: bits === 5 ? "dense" : PACK_QUANTIZED,
  };
}

/**
 * Returns the parameters of the layers with the dtype of the scales. Scales must be numbers in F16, and also in the dtype of the
 * checkpoint, which stores them.
 * @throws {ModelError} if the model cannot be exported
 * @throws {UsageError} if the scales shall have another dtype, or if the checkpoint cannot keep codes of 5 bits
 */
export async function queryForRuntime(
  runtime: RuntimeFormat,
  query: LayerQuery,
  opened: ModelFolder,
  fs: FileSystem,
): Promise<LayerQuery> {
  await describeModel(opened, fs);
  const { spec, weights } = opened.model;
  const dtypes = new Set(linearLayers(spec).map(({ name }) => weights.info(name).dtype));
  const scaleDtype = dtypes.has("BF16") ? "BF16" : "F16", { scale_dtype: given = scaleDtype } = query;
  if (given !== scaleDtype) {
    throw new UsageError(`option --scale-dtype ${given}: --for ${runtime} sets it to ${scaleDtype}`);
  }
  if (bitsOf(runtime) === 5 && [...dtypes].some((dtype) => dtype !== "F32")) {
    throw new UsageError(
      `option --for ${runtime}: only a checkpoint in F32 keeps weights of 5 bits exactly, but this one is in ${
        [...dtypes].join(" and ")
      }`,
    );
  }
  return { ...query, scale_dtype: scaleDtype };
}

/** Writes {@link GGUF_FILE} into the folder of a finished run, and says so. */
export async function writeForRuntime(
  runtime: RuntimeFormat,
  out: string,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  await using opened = await openModelFolder(out, denoFileSystem);
  const path = `${out}/${GGUF_FILE}`, type = tensorTypeOf(runtime);
  const name = basename(await denoFileSystem.realPath(out));
  const result = await writeGguf(opened, path, denoFileSystem, { type, round: false, name, signal });
  for (const line of exportLines(result, type)) output.remark(line);
  output.remark(`wrote ${path}`);
  if (!output.json) output.remark(`run it with llama.cpp: llama-cli -m ${JSON.stringify(path)} -p "PROMPT"`);
}
