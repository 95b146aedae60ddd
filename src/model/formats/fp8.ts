/**
 * The formats `fp8`, which DeepSeek-V3 introduced, and `fbgemm_fp8`. A weight in F8_E4M3 keeps its name, and its scales have this
 * name with the suffix `_scale_inv` or `_scale`. Both suffixes stand for the factor by which an entry is multiplied. The weight has the
 * dtype that config.json gives the model, as in transformers, which prefers the dtype of the parameter to the dtype of the scales. The
 * source is `integrations/finegrained_fp8.py` in github.com/huggingface/transformers (version 5.24).
 */

import { ModelError } from "../../base/files/file_error.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { unsupportedMember } from "./config/quantization_config.ts";
import { type Block, isBlock } from "./config/read_config.ts";
import { ACTIVATION_TENSORS, scaledMatrix } from "./codes/scaled_matrix.ts";
import { modelDtype, weightDtype } from "./codes/weight_dtype.ts";
import type { Format, StoredWeight } from "./format.ts";

const SCALE_SUFFIXES = ["_scale_inv", "_scale"];

export const FP8: Format = {
  name: "fp8",
  method: "fp8",
  leftOut: ACTIVATION_TENSORS,
  find(checkpoint, { weight_block_size: block, fmt, expert_dtype: expertDtype }) {
    const { folder } = checkpoint;
    if (![undefined, null, "e4m3", "float8_e4m3fn"].includes(fmt as string)) {
      throw unsupportedMember(folder, "fmt", "e4m3 or absent", fmt);
    }
    if (![undefined, null, "fp8"].includes(expertDtype as string)) {
      throw unsupportedMember(folder, "expert_dtype", "fp8 or absent", expertDtype);
    }
    if (block === undefined || block === null) return float8Weights(checkpoint, []);
    if (isBlock(block)) return float8Weights(checkpoint, [block]);
    throw unsupportedMember(folder, "weight_block_size", "two positive integers or absent", block);
  },
};

export const FBGEMM_FP8: Format = {
  name: "fbgemm_fp8",
  method: "fbgemm_fp8",
  leftOut: ACTIVATION_TENSORS,
  find: (checkpoint) => float8Weights(checkpoint, []),
};

/** Lists the weights in F8_E4M3. @param blocks the blocks that config.json names. A scale per row or per matrix is allowed too */
function float8Weights(checkpoint: Checkpoint, blocks: readonly Block[]): StoredWeight[] {
  const names = [...checkpoint.names()].filter((name) => checkpoint.info(name).dtype === "F8_E4M3");
  return names.map((name) => {
    const scale = SCALE_SUFFIXES.map((suffix) => name + suffix).find((scale) => checkpoint.has(scale));
    if (scale === undefined) {
      throw new ModelError(
        `${checkpoint.folder}: ${name} is F8_E4M3, but there is no ${name}${SCALE_SUFFIXES[0]}`,
      );
    }
    const [rows, cols] = checkpoint.info(name).shape.slice(-2);
    return scaledMatrix(checkpoint, {
      name,
      codes: "F8_E4M3",
      dtype: modelDtype(checkpoint) ?? weightDtype(checkpoint, scale),
      scale,
      blocks: [...blocks, [1, cols], [rows, cols]],
    });
  });
}
