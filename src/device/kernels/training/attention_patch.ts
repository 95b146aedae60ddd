/** Constants and parameters that the kernels for the gradients of attention share. */

import { attention } from "../forward/attention.ts";

/** The queries and the keys of a patch, as in shaders/shared/attention.wgsl. */
export const TOKENS = 64;

const { past: _, ...params } = attention.params;

/** The parameters of `attention`, without `past`. */
export const ATTENTION_GRADIENT_PARAMS = params;

export type AttentionGradientParams = Readonly<Record<keyof typeof ATTENTION_GRADIENT_PARAMS, number>>;
