/** Linear attention: a convolution over the last tokens, and a state that the gated delta rule updates token by token. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { causalConvolution } from "../../device/kernels/forward/causal_convolution.ts";
import { gatedDelta, MAX_DELTA_TOKENS } from "../../device/kernels/forward/gated_delta.ts";
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
  readonly channels: number;
  readonly taps: number;
  readonly activation: Activation;
}

/**
 * Queues the causal convolution of each column over the tokens, including those in the cache of the pass, and then the activation function.
 * @param x (rows, columns) f32
 * @returns (rows, channels) f32, valid until a convolution is queued again
 */
export function convolve(
  pass: BlockPass,
  x: DeviceBuffer,
  columns: number,
  { parts, weight, channels, taps, activation }: ConvolutionInput,
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
  backend.dispatch(biasActivate, { bias: workspace.placeholder, x: y }, {
    rows,
    cols: channels,
    has_bias: 0,
    activation: ACTIVATION_CODE[activation],
  });
  return y;
}

export interface DeltaSizes {
  /** The number of value heads. heads/keyHeads consecutive ones share a query and a key. */
  readonly heads: number;
  readonly keyHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

export interface DeltaInput extends DeltaSizes {
  /** The queries, keys and values of each token side by side, f32. */
  readonly qkv: DeviceBuffer;
  /** The columns of the decays, and of the strengths of updates, of the heads. */
  readonly a: ColumnsView;
  readonly b: ColumnsView;
  /** The distance between the first columns of consecutive key heads in both. */
  readonly gateStride: number;
  /** (heads) f32 each. */
  readonly aLog: DeviceBuffer;
  readonly dtBias: DeviceBuffer;
}

/**
 * Queues the gated delta rule (see `gatedDelta`). The state of a window is 0 at first. If the pass has a cache, the cache has the state.
 * @returns (rows, heads · valueDim) f32, valid until the rule is queued again
 */
export function applyDeltaRule(pass: BlockPass, input: DeltaInput): DeviceBuffer {
  const { backend, workspace, windows, tokens, rows, cache } = pass;
  const { heads, keyHeads, keyDim, valueDim, qkv, a, b } = input, stateSize = heads * keyDim * valueDim;
  const together = Math.min(windows, Math.max(1, Math.floor(STATE_BYTES / (4 * stateSize))));
  const state = cache?.state(stateSize) ?? workspace.buffer("states of windows", together * stateSize);
  const out = workspace.buffer("linear attention", rows * heads * valueDim);
  const buffers = { qkv, a: a.buffer, b: b.buffer, a_log: input.aLog, dt_bias: input.dtBias, state, out };
  const sizes = { heads, key_heads: keyHeads, key_dim: keyDim, value_dim: valueDim };
  const gates = {
    a_offset: a.offset,
    lda: a.ld,
    b_offset: b.offset,
    ldb: b.ld,
    gate_stride: input.gateStride,
  };
  for (let window = 0; window < windows; window += together) {
    const batch = Math.min(together, windows - window);
    if (!cache?.past) backend.clear(state);
    for (let token = 0; token < tokens; token += MAX_DELTA_TOKENS) {
      backend.dispatch(gatedDelta, buffers, {
        ...sizes,
        ...gates,
        batch,
        tokens: Math.min(MAX_DELTA_TOKENS, tokens - token),
        first_row: window * tokens + token,
        window_rows: tokens,
      });
    }
  }
  return out;
}
