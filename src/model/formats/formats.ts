/** Finds the format in which a checkpoint stores its weights. */

import { ModelError } from "../../base/files/file_error.ts";
import { isObject } from "../../base/json.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { QUANTIZATION_KEY, quantizationOf } from "./config/quantization_config.ts";
import { DENSE } from "./dense.ts";
import type { Format, WrittenFormat } from "./format.ts";
import * as files from "./registry.ts";

/** All formats. The files of formats export functions too. */
const FORMATS: readonly Format[] = Object.values(files).filter((value) => typeof value === "object");

/** The formats that have codes and that Pare writes. */
export const WRITTEN_FORMATS = FORMATS.filter((format): format is WrittenFormat =>
  format.writer !== undefined
);

/** Returns the format with this name. Undefined if Pare has none. */
export function formatNamed(name: string): Format | undefined {
  return FORMATS.find((format) => format.name === name);
}

/** Returns the format with this name in which layers are codes. Undefined if there is none. */
export function codedFormat(name: string): WrittenFormat | undefined {
  return WRITTEN_FORMATS.find((format) => format.name === name);
}

/**
 * Returns the format in which the files of a checkpoint store its weights.
 * @throws {ModelError} if Pare does not read the format. The message names it
 */
export function storedFormat(
  { storedConfig, folder }: Pick<Checkpoint, "storedConfig" | "folder">,
): Format {
  const value = quantizationOf(storedConfig);
  if (value === undefined) return DENSE;
  const { quant_method: method, format, sparsity_config: sparsity } = isObject(value) ? value : {};
  const read = FORMATS.filter(({ find }) => find),
    found = read.find((known) =>
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
  const shown = JSON.stringify(description).slice(0, 200), known = read.map(({ name }) => name).join(", ");
  throw new ModelError(
    `${folder}: ${QUANTIZATION_KEY} names the format ${shown}, which Pare does not read; it reads ${known}; ` +
      "use the original checkpoint, which is not quantised",
  );
}
