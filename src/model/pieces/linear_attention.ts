/** Linear attention: a convolution over the last tokens, and a state that is updated token by token. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { causalConvolution } from "../../device/kernels/forward/causal_convolution.ts";
import {
  linearAttention,
  MAX_DISPATCH_TOKENS,
  MAX_F32,
} from "../../device/kernels/forward/linear_attention.ts";
import { recordConvolution, recordLinearAttention } from "./linear_attention_backward.ts";
import type { Activation, BlockPass } from "./block_pass.ts";
import { copyColumns } from "./columns.ts";
import type { ColumnsView } from "./columns_view.ts";
import { addBiasAndActivate } from "./linear.ts";

/** The bytes of the states of the windows that run at the same time. */
const STATE_BYTES = 64 << 20;

/** Columns of an activation: `heads` ranges of `headDim` columns, whose first columns are `headStride` apart. */
export interface HeadColumns {
  readonly offset: number;
  readonly heads: number;
  readonly headDim: number;
  readonly headStride: number;
}

export interface ConvolutionInput {
  /** Which columns of `x` are convolved, in the order of the channels. */
  readonly parts: readonly HeadColumns[];
  /** (channels, taps) f32. */
  readonly weight: DeviceBuffer;
  /** (channels) f32. By default there is no bias. */
  readonly bias?: DeviceBuffer;
  readonly channels: number;
  readonly taps: number;
  readonly activation: Activation;
}

/**
 * Queues the causal convolution of each column over the tokens, also in the cache of the pass, and then the bias and
 * the activation function.
 * @param x (rows, columns) f32
 * @returns (rows, channels) f32, valid until a convolution is queued again
 */
export function convolve(
  pass: BlockPass,
  x: DeviceBuffer,
  columns: number,
  { parts, weight, bias, channels, taps, activation }: ConvolutionInput,
): DeviceBuffer {
  const { backend, workspace, rows, cache, tape } = pass,
    view: ColumnsView = { buffer: x, offset: 0, ld: columns };
  const source = cache ? cache.append(view, view, rows).k.buffer : x;
  const y = workspace.buffer("convolved", rows * channels);
  const shared = { batch: pass.windows, tokens: pass.tokens, taps, ldx: columns, ldy: channels };
  let first = 0;
  for (const { offset, heads, headDim, headStride } of parts) {
    const params = { ...shared, heads, head_dim: headDim, head_stride: headStride, offset, first };
    backend.dispatch(causalConvolution, { x: source, weight, y }, { ...params, past: cache?.past ?? 0 });
    if (tape) recordConvolution(tape, { x, weight, y }, params);
    first += heads * headDim;
  }
  addBiasAndActivate(pass, y, rows, channels, bias, activation);
  return y;
}

export interface LinearHeads {
  /** The number of value heads. heads/keyHeads consecutive ones share a query and a key. */
  readonly heads: number;
  readonly keyHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

/** The gated delta rule. The rows of `qkv` have the queries, the keys and then the values. */
interface DeltaRule {
  /** The numbers from which the strengths of the updates of the heads are computed. */
  readonly b: ColumnsView;
}

/** The rule of Mamba 2. The rows of `qkv` have the values, the keys and then the queries, which Mamba 2 calls x, B and C. */
interface Mamba2Rule {
  /** The smallest and the largest step. */
  readonly stepLimits: readonly [min: number, max: number];
}

export type LinearAttentionInput = LinearHeads & (DeltaRule | Mamba2Rule) & {
  /** The queries, keys and values of each token side by side, f32. */
  readonly qkv: DeviceBuffer;
  /** The numbers from which the decays, or steps, of the heads are computed. */
  readonly a: ColumnsView;
  /** The number of columns of `a`, and of `b`. Their rows have all heads of a token, or the heads that share a key. */
  readonly gateColumns: number;
  /** The vectors a_log and dt_bias, (heads) f32 each. By the rule of Mamba 2, the factors of the values that are added to the outputs follow. */
  readonly headVectors: DeviceBuffer;
};

/** Returns the parameters of the kernel that belong to the rule. */
function ruleParams(input: LinearAttentionInput) {
  const keys = input.keyHeads * input.keyDim, values = input.heads * input.valueDim;
  if ("b" in input) {
    return { is_delta: 1, q_offset: 0, k_offset: keys, v_offset: 2 * keys, min_step: 0, max_step: MAX_F32 };
  }
  const offsets = { q_offset: values + keys, k_offset: values, v_offset: 0 },
    [min_step, max] = input.stepLimits;
  return { is_delta: 0, ...offsets, min_step, max_step: Math.min(max, MAX_F32) };
}

/**
 * Queues linear attention (see `linearAttention`). The state of a window is 0 at first. If the pass has a cache, the cache has the state.
 * @returns (rows, heads · valueDim) f32, valid until linear attention is queued again
 */
export function attendLinearly(pass: BlockPass, input: LinearAttentionInput): DeviceBuffer {
  const { backend, workspace, windows, tokens, rows, cache, tape } = pass;
  const { heads, keyHeads, keyDim, valueDim, gateColumns } = input, stateSize = heads * keyDim * valueDim;
  const together = Math.min(windows, Math.max(1, Math.floor(STATE_BYTES / (4 * stateSize))));
  const state = cache?.state(stateSize) ?? workspace.buffer("states of windows", together * stateSize);
  const views = "b" in input ? [input.a, input.b] : [input.a];
  const gates = workspace.buffer("gates", views.length * rows * heads);
  for (const [i, view] of views.entries()) {
    const target = { buffer: gates, offset: i * rows * heads, ld: gateColumns };
    copyColumns(pass, rows * heads / gateColumns, gateColumns, view, [target]);
  }
  const out = workspace.buffer("linear attention", rows * heads * valueDim);
  const operands = { qkv: input.qkv, gates, head_vectors: input.headVectors };
  const sizes = { rows, heads, key_heads: keyHeads, key_dim: keyDim, value_dim: valueDim };
  const params = { ...sizes, ...ruleParams(input), window_rows: tokens };
  for (let window = 0; window < windows; window += together) {
    const batch = Math.min(together, windows - window);
    if (!cache?.past) backend.clear(state);
    for (let token = 0; token < tokens; token += MAX_DISPATCH_TOKENS) {
      backend.dispatch(linearAttention, { ...operands, state, out }, {
        ...params,
        batch,
        tokens: Math.min(MAX_DISPATCH_TOKENS, tokens - token),
        first_row: window * tokens + token,
        keeps_states: 0,
      });
    }
  }
  if (tape) recordLinearAttention(tape, operands, out, params, windows);
  return out;
}
