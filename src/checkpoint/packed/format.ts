/**
 * Defines the two sparse layouts of the compressed-tensors library. In these layouts, a packed weight
 * consists of several tensors, called its parts. This file has the names of the parts, and the description of
 * the layout in config.json. The sources are `sparse_bitmask.py` and `sparse_24_bitmask.py` in
 * github.com/vllm-project/compressed-tensors. `bitmask.ts` and `complete_two_four.ts` compute the bits.
 *
 *     sparse-bitmask
 *       compressed   (n)              dtype of the weight   the n non-zero entries, row by row
 *       bitmask      (rows, ⌈cols/8⌉) U8                    bit i%8 of byte i/8 stands for column i
 *       shape        (2)              I64                   rows, cols
 *       row_offsets  (rows)           I64                   the number of entries stored before each row
 *
 *     sparse-24-bitmask
 *       compressed   (rows, cols/2)   dtype of the weight   two entries of every four columns
 *       bitmask      as above
 *       shape        (2, 1)           I64                   rows, cols
 */

import { isObject } from "../../safetensors/header_json.ts";
import { ModelError } from "../../files/model_error.ts";

/** The name of a layout in Pare's commands. */
export type PackFormat = keyof typeof LIBRARY_NAMES;

/** The library's names of the layouts. */
const LIBRARY_NAMES = { "bitmask": "sparse-bitmask", "sparse-24": "sparse-24-bitmask" } as const;

/** All layouts. */
export const PACK_FORMATS = Object.keys(LIBRARY_NAMES) as PackFormat[];

/** Who can read the layouts, for the people who choose one. */
export const SPARSE_READERS =
  "sparse formats are read by Pare, and by compressed-tensors up to 0.14 with a transformers of its time; " +
  "current releases of compressed-tensors, transformers and vLLM refuse them";

/** The key of the description in config.json. */
const CONFIG_KEY = "quantization_config";

/** The end of the name of a dense weight. */
export const WEIGHT_SUFFIX = ".weight";

/** The ends of the names of the parts, which replace {@link WEIGHT_SUFFIX}. */
export const PART_SUFFIXES = {
  compressed: ".compressed",
  bitmask: ".bitmask",
  shape: ".shape",
  rowOffsets: ".row_offsets",
} as const;

/** Returns the names of the parts that begin with `stem`. */
export function partNames(stem: string): Record<keyof typeof PART_SUFFIXES, string> {
  const { compressed, bitmask, shape, rowOffsets } = PART_SUFFIXES;
  return {
    compressed: stem + compressed,
    bitmask: stem + bitmask,
    shape: stem + shape,
    rowOffsets: stem + rowOffsets,
  };
}

/**
 * Removes {@link WEIGHT_SUFFIX} from the name of a weight. The result is the beginning of the names of the
 * parts. The library uses it as the name of the layer.
 */
export function stemOf(weight: string): string {
  return weight.endsWith(WEIGHT_SUFFIX) ? weight.slice(0, -WEIGHT_SUFFIX.length) : weight;
}

/** The facts about a packed checkpoint that config.json describes. */
export interface SparsityDescription {
  readonly format: PackFormat;
  /** The names of the packed weights. */
  readonly weights: readonly string[];
  /** The fraction of zeros among the entries of the packed weights, from 0 to 1. */
  readonly sparsity: number;
}

/** Adds the description of a packed checkpoint to `config`. */
export function makePackedConfig(
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
 * Reads the layout from `config`.
 *
 * @returns undefined for a dense checkpoint
 * @throws {ModelError} if the weights are quantised or in an unsupported layout
 */
export function readPackFormat(config: Readonly<Record<string, unknown>>): PackFormat | undefined {
  const description = config[CONFIG_KEY];
  if (description === undefined || description === null) return undefined;
  const { quant_method: method, sparsity_config: sparsity, ...rest } = isObject(description)
    ? description
    : {};
  const name = isObject(sparsity) ? sparsity.format : undefined;
  const format = PACK_FORMATS.find((candidate) => LIBRARY_NAMES[candidate] === name);
  const isQuantized = isObject(rest.config_groups) && Object.keys(rest.config_groups).length > 0;
  if (method !== "compressed-tensors" || !format || isQuantized) {
    throw new ModelError(
      `${CONFIG_KEY} must name compressed-tensors with the sparsity format ` +
        `${Object.values(LIBRARY_NAMES).join(" or ")} and no quantisation, not ${
          JSON.stringify(description).slice(0, 200)
        }`,
    );
  }
  return format;
}

/** Removes the description of a packed checkpoint from `config`. */
export function makeDenseConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { [CONFIG_KEY]: _, ...rest } = config;
  return rest;
}
