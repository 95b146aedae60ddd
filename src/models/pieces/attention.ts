/** Causal self-attention within each window. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { attention } from "../../kernels/attention.ts";
import type { BlockPass } from "./block_pass.ts";
import type { Columns } from "./columns.ts";

/** The sizes of the heads of queries, keys and values. */
export interface Heads {
  readonly heads: number;
  /** The number of key and value heads. Each is shared by heads/kvHeads consecutive query heads. Defaults to `heads`. */
  readonly kvHeads?: number;
  readonly headDim: number;
  /** The number of columns from one head to the next in q, k and v. Defaults to `headDim`. */
  readonly headStride?: number;
}

/** The inputs of attention. */
export interface AttentionInput extends Heads {
  readonly q: Columns;
  readonly k: Columns;
  readonly v: Columns;
  /** The number of tokens that a query sees, itself included. Defaults to 0, which means all earlier tokens. */
  readonly window?: number;
  /** ALiBi slopes, (heads) f32. By default there are none. */
  readonly slopes?: DeviceBuffer;
}

/**
 * Queues softmax(q·kᵀ/√headDim + slope·(s − t))·v for each token t over the tokens s that it sees.
 * @returns (rows, heads · headDim) f32, valid until attention runs again
 */
export function attend(pass: BlockPass, input: AttentionInput): DeviceBuffer {
  const { q, k, v, heads, kvHeads = heads, headDim, headStride = headDim, window = 0 } = input;
  const width = heads * headDim;
  const out = pass.workspace.take("attention", pass.rows * width);
  const slopes = input.slopes ?? pass.workspace.zeros(heads);
  pass.backend.dispatch(attention, { q: q.buffer, k: k.buffer, v: v.buffer, slopes, out }, {
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
    ldo: width,
    scale: 1 / Math.sqrt(headDim),
    window,
  });
  return out;
}
