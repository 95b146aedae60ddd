/** Constants, parameters and loop counts that the kernels for the gradients of attention share. */

import { attention } from "../forward/attention.ts";
import { loop, type LoopCount } from "../loop_count.ts";

/** The queries and the keys of a patch, as in shaders/shared/attention.wgsl. */
export const TOKENS = 64;
/** The invocations across and down, and the quads of a slice, as in shaders/shared/attention_patch.wgsl. */
export const EDGE = 16;
const SLICE = 4;

const { past: _, ...params } = attention.params;

/** The parameters of `attention`, without `past`. */
export const ATTENTION_GRADIENT_PARAMS = params;

export type AttentionGradientParams = Readonly<Record<keyof typeof ATTENTION_GRADIENT_PARAMS, number>>;

/** The iterations of the loop over the slices of a patch. */
export function patchLoops({ head_dim }: Pick<AttentionGradientParams, "head_dim">): LoopCount {
  return loop(Math.ceil(head_dim / 4 / SLICE));
}
