/** Causal self-attention: each token attends to itself and to earlier tokens of its sequence. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { attention } from "../../device/kernels/forward/attention.ts";
import {
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
} from "../../device/kernels/training/attention_backward.ts";
import { attentionStatistics } from "../../device/kernels/training/attention_statistics.ts";
import type { BlockPass } from "./block_pass.ts";
import type { ColumnsView } from "./columns_view.ts";
import type { Tape } from "./tape.ts";

/** The number and the sizes of attention heads. */
export interface Heads {
  readonly heads: number;
  /** The number of key heads, and of value heads, each shared by heads/kvHeads consecutive query heads. Defaults to `heads`. */
  readonly kvHeads?: number;
  /** The number of dimensions of each head. */
  readonly headDim: number;
  /** The distance between the first columns of two consecutive heads in q, k and v. Defaults to `headDim`. */
  readonly headStride?: number;
}

export interface AttentionInput extends Heads {
  readonly q: ColumnsView;
  readonly k: ColumnsView;
  readonly v: ColumnsView;
  /** The number of tokens to which a token attends, itself included. Defaults to 0, which means all earlier tokens. */
  readonly window?: number;
  /** Whether each `window` tokens are a chunk, and a token attends only to the tokens of its chunk. Defaults to false. */
  readonly isChunked?: boolean;
  /** The factor of the products q·kᵀ. Defaults to 1/√headDim. */
  readonly scale?: number;
  /** The limit c of the products scale·q·kᵀ, which are replaced by c·tanh(scale·q·kᵀ/c). Defaults to 0, which means no limit. */
  readonly softCap?: number;
  /** ALiBi slopes, (heads) f32. By default all slopes are zero. */
  readonly slopes?: DeviceBuffer;
  /** For each head, the score of a further token whose value is 0, (heads) f32. By default there is no such token. */
  readonly sinks?: DeviceBuffer;
}

/**
 * Queues the attention of each token t of the pass, which is softmax(scale·q·kᵀ + slope·(s − t))·v. The softmax runs
 * over the tokens s to which t attends, also in the cache of the pass.
 * @returns (rows, heads · headDim) f32, valid until attention is queued again
 */
export function attend(pass: BlockPass, input: AttentionInput): DeviceBuffer {
  const { q, heads, kvHeads = heads, headDim, headStride = headDim, window = 0 } = input;
  const { k, v } = pass.cache?.append(input.k, input.v, pass.rows) ?? input;
  const { scale = 1 / Math.sqrt(headDim), softCap = 0 } = input;
  const outFeatures = heads * headDim;
  const out = pass.workspace.buffer("attention", pass.rows * outFeatures);
  const buffers = {
    q: q.buffer,
    k: k.buffer,
    v: v.buffer,
    slopes: input.slopes ?? pass.workspace.zeros(heads),
    sinks: input.sinks ?? pass.workspace.placeholder,
    out,
  };
  const params = {
    batch: pass.windows,
    tokens: pass.tokens,
    heads,
    kv_heads: kvHeads,
    head_dim: headDim,
    head_stride: headStride,
    q_offset: q.offset,
    ldq: q.ld,
    k_offset: k.offset,
    ldk: k.ld,
    v_offset: v.offset,
    ldv: v.ld,
    ldo: outFeatures,
    scale,
    window,
    soft_cap: softCap,
    chunked: input.isChunked ? 1 : 0,
    has_sinks: input.sinks ? 1 : 0,
  };
  pass.backend.dispatch(attention, buffers, { ...params, past: pass.cache?.past ?? 0 });
  if (pass.tape) recordAttention(pass.tape, buffers, params);
  return out;
}

/** Records attention without earlier tokens. The slopes and the sinks get no gradient. @param params as for `attention` */
function recordAttention(
  tape: Tape,
  { q, k, v, slopes, sinks, out }: Readonly<
    Record<"q" | "k" | "v" | "slopes" | "sinks" | "out", DeviceBuffer>
  >,
  params: Parameters<typeof attentionStatistics.shader.grid>[0],
): void {
  const { backend, workspace } = tape, saved = [q, k, v].map((buffer) => tape.save(buffer));
  tape.record(out, (d_out) => {
    const [savedQ, savedK, savedV] = saved.map(({ buffer }) => buffer);
    const rows = params.batch * params.tokens;
    const statistics = workspace.buffer("attention statistics", 2 * params.heads * rows);
    const known = { q: savedQ, k: savedK, slopes, sinks, out, d_out };
    backend.dispatch(attentionStatistics, { ...known, statistics }, params);
    const operands = { q: savedQ, k: savedK, v: savedV, slopes, d_out, statistics };
    backend.dispatch(attentionQueriesBackward, { ...operands, gradient: tape.gradient(q) }, params);
    backend.dispatch(attentionKeysBackward, { ...operands, gradient: tape.gradient(k) }, params);
    backend.dispatch(attentionValuesBackward, { ...operands, gradient: tape.gradient(v) }, params);
  });
}

/**
 * Computes the slopes of ALiBi (Press et al., arXiv 2108.12409) as BLOOM does. The attention score of two tokens is
 * lowered by the slope of the head times the distance between the tokens. If `heads` is a power of two, head
 * h = 1 … heads has the slope 2^(−8h/heads). Otherwise, the list starts with all slopes for the next smaller power of
 * two. The remaining heads have the first, third, fifth … slope for the next larger power of two.
 * @returns (heads) f32
 */
export function alibiSlopes(heads: number): Float32Array<ArrayBuffer> {
  const powerOfTwo = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from(
    { length: heads },
    (_, h) =>
      h < powerOfTwo ? 2 ** (-8 * (h + 1) / powerOfTwo) : 2 ** (-4 * (2 * (h - powerOfTwo) + 1) / powerOfTwo),
  );
}
