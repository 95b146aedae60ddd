/** Causal self-attention within each window. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { attention } from "../../kernels/attention.ts";
import type { BlockPass } from "./block_pass.ts";

/** Queries, keys and values, heads side by side in a row, and how to read them. */
export interface AttentionInput {
  /** (rows, heads · headDim) f32. */
  readonly q: DeviceBuffer;
  /** (rows, heads · headDim) f32. */
  readonly k: DeviceBuffer;
  /** (rows, heads · headDim) f32. */
  readonly v: DeviceBuffer;
  readonly heads: number;
  readonly headDim: number;
}

/**
 * Queues softmax(q·kᵀ/√headDim)·v over each token and those before it.
 * @returns (rows, heads · headDim) f32, valid until attention runs again
 */
export function attend(pass: BlockPass, { q, k, v, heads, headDim }: AttentionInput): DeviceBuffer {
  const width = heads * headDim;
  const out = pass.workspace.take("attention", pass.rows * width);
  const slopes = pass.workspace.zeros(heads);
  pass.backend.dispatch(attention, { q, k, v, slopes, out }, {
    batch: pass.windows,
    tokens: pass.tokens,
    heads,
    kv_heads: heads,
    head_dim: headDim,
    q_offset: 0,
    ldq: width,
    k_offset: 0,
    ldk: width,
    v_offset: 0,
    ldv: width,
    ldo: width,
    scale: 1 / Math.sqrt(headDim),
    window: 0,
  });
  return out;
}
