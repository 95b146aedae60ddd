/**
 * The formats of other programs, from which the values of `pare export --format` and of `pare prune --for` follow: the
 * formats in `src/model/formats` that have codes, and one format per type of tensors in GGUF files (`TENSOR_TYPES`).
 */

import { WRITTEN_FORMATS } from "../../model/formats/formats.ts";
import { TENSOR_TYPES, type TensorTypeName } from "../../model/gguf/tensor_types.ts";
import type { ExportFormat } from "./export_format.ts";
import { ggufFormat } from "./gguf.ts";
import { packedFormat } from "./packed.ts";

/** A value of `pare export --format`. */
export type FormatName = string;

export const FORMATS: Readonly<Record<FormatName, ExportFormat>> = {
  ...Object.fromEntries(
    Object.keys(TENSOR_TYPES).map((type) => [`gguf:${type}`, ggufFormat(type as TensorTypeName)]),
  ),
  ...Object.fromEntries(WRITTEN_FORMATS.map((format) => [format.name, packedFormat(format)])),
};

/** The values of `pare export --format`. */
export const EXPORT_FORMATS = Object.keys(FORMATS);

/** The formats that are one file, which are the values of `pare quantize --for`. */
export const FILE_FORMATS = EXPORT_FORMATS.filter((name) => FORMATS[name].file);

/** The values of `pare prune --for`. */
export const RUNTIME_FORMATS = EXPORT_FORMATS.filter((name) => FORMATS[name].options);
