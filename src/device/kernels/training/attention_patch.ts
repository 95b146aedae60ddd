/** Constants, parameters and loop counts that the kernels for the gradients of attention share. */

import type { Scalar } from "../kernel.ts";
import { loop, type LoopCount } from "../loop_count.ts";

/** The queries and the keys of a patch, as in shaders/shared/attention.wgsl. */
export const TOKENS = 64;
/** The invocations across and down, and the quads of a slice, as in shaders/shared/attention_patch.wgsl. */
export const EDGE = 16;
const SLICE = 4;

/** The parameters of `attention`, without `past`. */
export const ATTENTION_GRADIENT_PARAMS = {
  batch: "u32",
  tokens: "u32",
  heads: "u32",
  kv_heads: "u32",
  head_dim: "u32",
  head_stride: "u32",
  q_offset: "u32",
  ldq: "u32",
  k_offset: "u32",
  ldk: "u32",
  v_offset: "u32",
  ldv: "u32",
  ldo: "u32",
  scale: "f32",
  window: "u32",
  soft_cap: "f32",
  chunked: "u32",
  has_sinks: "u32",
} as const satisfies Readonly<Record<string, Scalar>>;

export type AttentionGradientParams = Readonly<Record<keyof typeof ATTENTION_GRADIENT_PARAMS, number>>;

/** The iterations of the loop over the slices of a patch. */
export function patchLoops({ head_dim }: Pick<AttentionGradientParams, "head_dim">): LoopCount {
  return loop(Math.ceil(head_dim / 4 / SLICE));
}
