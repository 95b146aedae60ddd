/** Linear attention: a convolution over the last tokens, and a state that is updated token by token. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { causalConvolution } from "../../device/kernels/forward/causal_convolution.ts";
import {
  linearAttention,
  MAX_DISPATCH_TOKENS,
  MAX_F32,
} from "../../device/kernels/forward/linear_attention.ts";
import { ACTIVATION_CODE, biasActivate } from "../../device/kernels/forward/activate.ts";
import type { Activation, BlockPass } from "./block_pass.ts";
import type { ColumnsView } from "./columns_view.ts";

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
 * Queues the causal convolution of each column over the tokens, including those in the cache of the pass, and then the bias and the
 * activation function.
 * @param x (rows, columns) f32
 * @returns (rows, channels) f32, valid until a convolution is queued again
 */
export function convolve(
  pass: BlockPass,
  x: DeviceBuffer,
  columns: number,
  { parts, weight, bias, channels, taps, activation }: ConvolutionInput,
): DeviceBuffer {
  const { backend, workspace, rows, cache } = pass, view: ColumnsView = { buffer: x, offset: 0, ld: columns };
  const source = cache ? cache.append(view, view, rows).k.buffer : x;
  const y = workspace.buffer("convolved", rows * channels);
  let first = 0;
  for (const { offset, heads, headDim, headStride } of parts) {
    backend.dispatch(causalConvolution, { x: source, weight, y }, {
      batch: pass.windows,
      tokens: pass.tokens,
      past: cache?.past ?? 0,
      taps,
      heads,
      head_dim: headDim,
      head_stride: headStride,
      offset,
      ldx: columns,
      first,
      ldy: channels,
    });
    first += heads * headDim;
  }
  backend.dispatch(biasActivate, { bias: bias ?? workspace.placeholder, x: y }, {
    rows,
    cols: channels,
    has_bias: bias ? 1 : 0,
    activation: ACTIVATION_CODE[activation],
  });
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
  /** The columns of the strengths of updates of the heads. */
  readonly b: ColumnsView;
}

/** The rule of Mamba 2. The rows of `qkv` have the values, the keys and then the queries, which Mamba 2 calls x, B and C. */
interface Mamba2Rule {
  /** The factors of the values that are added to the outputs, (heads) f32. */
  readonly skip: DeviceBuffer;
  /** The smallest and the largest step. */
  readonly stepLimits: readonly [min: number, max: number];
}

export type LinearAttentionInput = LinearHeads & (DeltaRule | Mamba2Rule) & {
  /** The queries, keys and values of each token side by side, f32. */
  readonly qkv: DeviceBuffer;
  /** The columns of the decays, or steps, of the heads. */
  readonly a: ColumnsView;
  /** The distance between the first columns of consecutive key heads in `a`, and in `b`. */
  readonly gateStride: number;
  /** (heads) f32 each. */
  readonly aLog: DeviceBuffer;
  readonly dtBias: DeviceBuffer;
};

/** Returns the parameters of the kernel that belong to the rule. */
function ruleParams(input: LinearAttentionInput) {
  const keys = input.keyHeads * input.keyDim, values = input.heads * input.valueDim;
  if ("b" in input) {
    const offsets = { q_offset: 0, k_offset: keys, v_offset: 2 * keys };
    const { offset: b_offset, ld: ldb } = input.b;
    return { is_delta: 1, ...offsets, b_offset, ldb, min_step: 0, max_step: MAX_F32 };
  }
  const offsets = { q_offset: values + keys, k_offset: values, v_offset: 0 },
    [min_step, max] = input.stepLimits;
  return { is_delta: 0, ...offsets, b_offset: 0, ldb: 0, min_step, max_step: Math.min(max, MAX_F32) };
}

/**
 * Queues linear attention (see `linearAttention`). The state of a window is 0 at first. If the pass has a cache, the cache has the state.
 * @returns (rows, heads · valueDim) f32, valid until linear attention is queued again
 */
export function attendLinearly(pass: BlockPass, input: LinearAttentionInput): DeviceBuffer {
  const { backend, workspace, windows, tokens, rows, cache } = pass, { placeholder } = workspace;
  const { heads, keyHeads, keyDim, valueDim, a } = input, stateSize = heads * keyDim * valueDim;
  const together = Math.min(windows, Math.max(1, Math.floor(STATE_BYTES / (4 * stateSize))));
  const state = cache?.state(stateSize) ?? workspace.buffer("states of windows", together * stateSize);
  const out = workspace.buffer("linear attention", rows * heads * valueDim);
  const buffers = {
    qkv: input.qkv,
    a: a.buffer,
    b: "b" in input ? input.b.buffer : placeholder,
    a_log: input.aLog,
    dt_bias: input.dtBias,
    skip: "b" in input ? placeholder : input.skip,
    state,
    out,
  };
  const sizes = { heads, key_heads: keyHeads, key_dim: keyDim, value_dim: valueDim };
  const gates = { a_offset: a.offset, lda: a.ld, gate_stride: input.gateStride };
  const params = { ...sizes, ...gates, ...ruleParams(input) };
  for (let window = 0; window < windows; window += together) {
    const batch = Math.min(together, windows - window);
    if (!cache?.past) backend.clear(state);
    for (let token = 0; token < tokens; token += MAX_DISPATCH_TOKENS) {
      backend.dispatch(linearAttention, buffers, {
        ...params,
        batch,
        tokens: Math.min(MAX_DISPATCH_TOKENS, tokens - token),
        first_row: window * tokens + token,
        window_rows: tokens,
      });
    }
  }
  return out;
}
