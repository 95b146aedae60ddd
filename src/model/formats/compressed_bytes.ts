/**
 * The formats of compressed-tensors that store one byte per weight: `float-quantized`, `int-quantized` and `naive-quantized`. The
 * tensors of a layer are
 *
 *     weight             (rows, cols)  F8_E4M3 or I8
 *     weight_scale       one per matrix, row, group of columns or block
 *     weight_zero_point  I8, with the shape of the scales (asymmetric integers only)
 *
 * The source is `compressors/naive_quantized` in github.com/vllm-project/compressed-tensors (version 0.20).
 */

import { ModelError } from "../../base/files/file_error.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { PACKED_SUFFIXES } from "./codes/packed_tensors.ts";
import {
  ANYTHING,
  BLOCK,
  type Block,
  type FormatRules,
  type GridKind,
  gridKindOf,
  oneOf,
  readGridKinds,
} from "./config/read_config.ts";
import { ACTIVATION_TENSORS, scaledMatrix } from "./codes/scaled_matrix.ts";
import { weightDtype } from "./codes/weight_dtype.ts";
import { type Format, stemsOf, type StoredWeight } from "./format.ts";

const { scale: SCALE_SUFFIX, zeroPoint: ZERO_SUFFIX } = PACKED_SUFFIXES;

export const FLOAT_QUANTIZED = compressedBytes("float-quantized", "float");
export const INT_QUANTIZED = compressedBytes("int-quantized", "int");
export const NAIVE_QUANTIZED = compressedBytes("naive-quantized", "float", "int");

/** Declares a format of compressed-tensors. @param types the types of codes that it stores */
function compressedBytes(format: string, ...types: readonly string[]): Format {
  return {
    name: format,
    method: "compressed-tensors",
    format,
    leftOut: ACTIVATION_TENSORS,
    find(checkpoint) {
      const kinds = readGridKinds(checkpoint.folder, checkpoint.config, rulesOf(format, types));
      return stemsOf(checkpoint, SCALE_SUFFIX).map((stem) =>
        byteWeight(checkpoint, stem, gridKindOf(checkpoint.folder, stem, kinds))
      );
    },
  };
}

function rulesOf(format: string, types: readonly string[]): FormatRules {
  return {
    config: { quantization_status: oneOf("compressed", "frozen", undefined), kv_cache_scheme: ANYTHING },
    group: { input_activations: ANYTHING, output_activations: ANYTHING, format: oneOf(format, undefined) },
    weights: {
      type: oneOf(...types),
      strategy: oneOf("tensor", "channel", "group", "block"),
      block_structure: BLOCK,
    },
  };
}

function byteWeight(checkpoint: Checkpoint, stem: string, kind: GridKind): StoredWeight {
  const { folder } = checkpoint, name = `${stem}.weight`, { shape } = checkpoint.info(name);
  const isFloat = kind.type === "float", isCentred = isFloat || kind.symmetric;
  if (isFloat && kind.bits !== 8) {
    throw new ModelError(
      `${folder}: the weights of ${kind.group} must have 8 bits, not ${kind.bits}, because they are floats`,
    );
  }
  if (isCentred && checkpoint.has(stem + ZERO_SUFFIX)) {
    throw new ModelError(
      `${folder}: has ${stem}${ZERO_SUFFIX}, although the weights of ${kind.group} have no zero points`,
    );
  }
  if (checkpoint.has(`${stem}.weight_g_idx`)) {
    throw new ModelError(`${folder}: ${stem}.weight_g_idx is not supported`);
  }
  return scaledMatrix(checkpoint, {
    name,
    codes: isFloat ? "F8_E4M3" : "I8",
    dtype: weightDtype(checkpoint, stem + SCALE_SUFFIX),
    scale: stem + SCALE_SUFFIX,
    zeroPoint: isCentred ? undefined : stem + ZERO_SUFFIX,
    blocks: [blockOf(kind, shape)],
  });
}

function blockOf({ strategy, groupSize, block }: GridKind, shape: readonly number[]): Block {
  const [rows, cols] = shape.slice(-2);
  if (block) return block;
  return strategy === "tensor" ? [rows, cols] : [1, strategy === "group" ? groupSize : cols];
}
