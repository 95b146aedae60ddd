/** The list of all formats in which Pare reads stored weights. config.json names the format of a checkpoint. */

import { ModelError } from "../../base/files/file_error.ts";
import { isObject } from "../../base/json.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { QUANTIZATION_KEY, quantizationOf } from "./config/quantization_config.ts";
import { PACK_QUANTIZED_FORMAT } from "./pack_quantized.ts";
import { AWQ, GPTQ } from "./codes/column_codes.ts";
import { COMPRESSED_FORMATS } from "./compressed_bytes.ts";
import { FBGEMM_FP8, FP8 } from "./fp8.ts";
import { MXFP4 } from "./mxfp4.ts";
import type { StoredFormat } from "./format.ts";

const FORMATS: readonly StoredFormat[] = [
  ...[PACK_QUANTIZED_FORMAT, ...COMPRESSED_FORMATS],
  ...[FP8, FBGEMM_FP8, MXFP4, GPTQ, AWQ],
];

/**
 * Returns the format in which the files of a checkpoint store its quantised weights. Returns undefined if they are dense.
 * @throws {ModelError} if Pare does not read the format. The message names it
 */
export function storedFormat(
  { storedConfig, folder }: Pick<Checkpoint, "storedConfig" | "folder">,
): StoredFormat | undefined {
  const value = quantizationOf(storedConfig);
  if (value === undefined) return undefined;
  const { quant_method: method, format, sparsity_config: sparsity } = isObject(value) ? value : {};
  const found = FORMATS.find((known) =>
    known.method === method && (known.format === undefined || known.format === format)
  );
  if (found) return found;
  if (isObject(sparsity) && typeof sparsity.format === "string") {
    const name = JSON.stringify(sparsity.format.slice(0, 200));
    throw new ModelError(
      `${folder}: stores its weights in the sparse format ${name}, which Pare ` +
        "does not read; decompress them with compressed-tensors 0.14 or older, or prune the original model again",
    );
  }
  const description = method === undefined ? value : format === undefined ? method : `${method}, ${format}`;
  const shown = JSON.stringify(description).slice(0, 200), known = FORMATS.map(({ name }) => name).join(", ");
  throw new ModelError(
    `${folder}: ${QUANTIZATION_KEY} names the format ${shown}, which Pare does not read; it reads ${known}; ` +
      "use the original checkpoint, which is not quantised",
  );
}

/** Returns the name of the format in which the files of a checkpoint store its weights. @throws {ModelError} as {@link storedFormat} does */
export function storedFormatName(checkpoint: Pick<Checkpoint, "storedConfig" | "folder">): string {
  return storedFormat(checkpoint)?.name ?? "dense";
}
