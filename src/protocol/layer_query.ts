/** The parameters of one layer as a type. `deno task generate` writes this file from the schemas in `src/protocol`. */

import type { PatternText } from "../tensor/pattern.ts";

/** The parameters of `POST /v1/layers`, by their names in the contract. The server fills in defaults for those that are absent. */
export interface LayerQuery {
  /** The solver: sparsegpt (one pass); magnitude (no statistics); wanda (no update); adaprune (magnitude, then a refit); obc (one weight at a time); alps (slower, a better mask). Defaults to sparsegpt. */
  readonly method?: "sparsegpt" | "magnitude" | "wanda" | "adaprune" | "obc" | "alps";
  /** The fraction of weights to prune. Defaults to 0.5. May be omitted with an n:m pattern, or with a tensor `mask`, which is then pruned exactly. Accepts 0 to below 1. */
  readonly sparsity?: number;
  /** unstructured; n:m, which keeps at most n of every m consecutive inputs, 1 ≤ n < m ≤ 128; or columns, which removes whole inputs and answers a smaller weight, for obc. Defaults to unstructured. */
  readonly pattern?: PatternText;
  /** The number of neighbouring inputs that pattern=columns removes together, such as the outputs of an attention head. The number of inputs must be a multiple of it. Defaults to 1. Accepts 1 to 2048. */
  readonly column_group?: number;
  /** Columns per block, a multiple of m and of group_size. Defaults to the largest multiple of the larger of the two up to 128, or to the larger of the two if it exceeds 128. With scale_bits, the default is 256. Accepts 1 to 256. */
  readonly blocksize?: number;
  /** λ. λ times the mean of the Hessian's diagonal is added to the diagonal. auto chooses λ, or shrinks the Hessian towards its diagonal, by validation statistics, which it needs. With pattern=columns, it needs none, and shrinks as far as the error stays small. Accepts 0 to 1. Defaults to 0.01. */
  readonly damping?: "auto" | number;
  /** How much each calibration input x counts. none adds x·xᵀ, as published. unit first scales x to a fixed length, and is the default of whole models. Defaults to none. */
  readonly token_weights?: "none" | "unit";
  /** Round the kept weights to a grid of 2^bits values. Accepts 2 to 8. */
  readonly bits?: number;
  /** Columns per quantisation group. 0 means a whole row. The block size must be a multiple of it. Accepts 0 to 256. Defaults to 0. */
  readonly group_size?: number;
  /** Whether the quantisation grid is symmetric about 0. Defaults to false. */
  readonly symmetric?: boolean;
  /** What a quantisation grid spans. search finds the range with the smallest weighted error. minmax is all weights, as published. Defaults to search. */
  readonly ranges?: "search" | "minmax";
  /** The dtype to which each scale is rounded before the weights are rounded. Defaults to F32. */
  readonly scale_dtype?: "F32" | "F16" | "BF16";
  /** Make each scale a whole number of this many bits times one factor per 256 columns, as in the K types of GGUF. scale_dtype is then the dtype of the factor. The group size must divide 256. Accepts 2 to 8. */
  readonly scale_bits?: number;
  /** The order of the columns when quantising. activation starts with the largest inputs. Defaults to natural. */
  readonly order?: "natural" | "activation";
  /** Conjugate-gradient steps on the chosen mask, before any quantisation. Defaults to 10 for adaprune and alps, else 0. Accepts 0 to 1000. */
  readonly refit?: number;
  /** How much work to spend on the mask, for alps. Rounded weights are improved after the rounding, except with fast. Defaults to default. */
  readonly effort?: "fast" | "default" | "best";
  /** The size of the step by which the weights move towards the tensor target before they are pruned. 1 is the whole step. auto chooses by the tensor validation_target, which it needs. Needs the tensor target. Defaults to 0.5. Accepts 0 to 1. */
  readonly target_step?: "auto" | number;
  /** Whether to compute relative_error, which costs one more matrix product. Defaults to true. */
  readonly error?: boolean;
  /** The dtype of the weights in the answer. same is the dtype of the request. Defaults to same. */
  readonly dtype?: "same" | "F32" | "F16" | "BF16";
  /** The digest of stored statistics, sent instead of a statistics tensor. */
  readonly hessian?: string;
}
