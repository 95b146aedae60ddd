/**
 * The two sparse layouts of the compressed-tensors library, by their names: what the parts of a packed weight are
 * called, and what config.json says of them (github.com/vllm-project/compressed-tensors, `sparse_bitmask.py` and
 * `sparse_24_bitmask.py`). The bits are in `bitmask.ts` and `two_four.ts`.
 *
 *     sparse-bitmask      compressed (kept)            dtype of the weight: the kept entries, row by row
 *                         bitmask    (rows, ⌈cols/8⌉)  U8: bit i%8 of byte i/8, least significant first
 *                         shape      (2)               I64: rows, cols
 *                         row_offsets (rows)           I64: the entries kept before each row
 *     sparse-24-bitmask   compressed (rows, cols/2), bitmask as above, shape (2, 1)
 */

import { isObject } from "../../safetensors/header_json.ts";
import { ModelError } from "../../files/model_error.ts";

/** A layout, by the name Pare's commands have for it. */
export type PackFormat = keyof typeof LIBRARY_NAMES;

/** The library's names. */
const LIBRARY_NAMES = { "bitmask": "sparse-bitmask", "sparse-24": "sparse-24-bitmask" } as const;

/** The layouts. */
export const PACK_FORMATS = Object.keys(LIBRARY_NAMES) as PackFormat[];

/** Where config.json keeps it. */
const CONFIG_KEY = "quantization_config";

/** The ending of a weight's name. */
export const WEIGHT_SUFFIX = ".weight";

/** The endings of its parts' names, in its place. */
export const PART_SUFFIXES = {
  compressed: ".compressed",
  bitmask: ".bitmask",
  shape: ".shape",
  rowOffsets: ".row_offsets",
} as const;

/** The names of the parts that begin with `stem`. */
export function partNames(stem: string): Record<keyof typeof PART_SUFFIXES, string> {
  const { compressed, bitmask, shape, rowOffsets } = PART_SUFFIXES;
  return {
    compressed: stem + compressed,
    bitmask: stem + bitmask,
    shape: stem + shape,
    rowOffsets: stem + rowOffsets,
  };
}

/** The name of a weight without its ending: what its parts' names begin with, and what the library calls its layer. */
export function stemOf(weight: string): string {
  return weight.endsWith(WEIGHT_SUFFIX) ? weight.slice(0, -WEIGHT_SUFFIX.length) : weight;
}

/** What config.json holds of a packed checkpoint. */
export interface SparsityDescription {
  readonly format: PackFormat;
  /** The packed weights' names. */
  readonly weights: readonly string[];
  /** The share of zeros in them, 0 to 1. */
  readonly sparsity: number;
}

/** `config` with the description of a packed checkpoint. */
export function describePacked(
  config: Readonly<Record<string, unknown>>,
  { format, weights, sparsity }: SparsityDescription,
): Record<string, unknown> {
  const sparsity_config = {
    format: LIBRARY_NAMES[format],
    // A fraction, as current releases of llm-compressor write it (SparsityConfigMetadata.infer_global_sparsity).
    global_sparsity: sparsity,
    ignore: [],
    registry_requires_subclass: false,
    sparsity_structure: format === "sparse-24" ? "2:4" : "unstructured",
    targets: weights.map(stemOf),
  };
  return { ...config, [CONFIG_KEY]: { quant_method: "compressed-tensors", sparsity_config } };
}

/**
 * The layout that `config` names; undefined for a dense checkpoint.
 * @throws {ModelError} it names another one, or quantised weights
 */
export function packedFormat(config: Readonly<Record<string, unknown>>): PackFormat | undefined {
  const description = config[CONFIG_KEY];
  if (description === undefined || description === null) return undefined;
  const { quant_method: method, sparsity_config: sparsity, ...rest } = isObject(description)
    ? description
    : {};
  const name = isObject(sparsity) ? sparsity.format : undefined;
  const format = PACK_FORMATS.find((known) => LIBRARY_NAMES[known] === name);
  const isQuantized = isObject(rest.config_groups) && Object.keys(rest.config_groups).length > 0;
  if (method !== "compressed-tensors" || !format || isQuantized) {
    throw new ModelError(
      `${CONFIG_KEY} must be of compressed-tensors with the sparsity format ` +
        `${Object.values(LIBRARY_NAMES).join(" or ")} alone, not ${
          JSON.stringify(description).slice(0, 200)
        }`,
    );
  }
  return format;
}

/** `config` without what it said of packing. */
export function describeDense(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { [CONFIG_KEY]: _, ...rest } = config;
  return rest;
}
