/**
 * The table of the formats of other programs. The values of `pare export --format` and of `pare prune --for` follow from it. To add a format,
 * add an entry. A type of tensors in GGUF files is an entry of `TENSOR_TYPES`.
 */

import { TENSOR_TYPES, type TensorTypeName } from "../../model/gguf/tensor_types.ts";
import type { ExportFormat } from "./export_format.ts";
import { ggufFormat } from "./gguf.ts";

const GGUF = Object.fromEntries(
  Object.keys(TENSOR_TYPES).map((type) => [`gguf:${type}`, ggufFormat(type as TensorTypeName)]),
) as Record<`gguf:${TensorTypeName}`, ExportFormat>;

export const FORMATS = { ...GGUF } as const satisfies Readonly<Record<string, ExportFormat>>;

export type FormatName = keyof typeof FORMATS;

/** The values of `pare export --format`. */
export const EXPORT_FORMATS = Object.keys(FORMATS) as FormatName[];

/** The values of `pare prune --for`. */
export const RUNTIME_FORMATS = EXPORT_FORMATS.filter((name) => FORMATS[name].target);
