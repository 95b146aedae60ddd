/** References of the kernels of a model's forward pass. */

import { REFERENCE_ACTIVATIONS } from "../../../tests/reference/activation.ts";
import { referenceAttention } from "../../../tests/reference/attention.ts";
import { referenceCrossEntropy } from "../../../tests/reference/cross_entropy.ts";
import { referenceLayerNorm, referenceRmsNorm } from "../../../tests/reference/normalize.ts";
import { ACTIVATION_CODE } from "../../../src/kernels/forward/activate.ts";
import { eachElement, packed, type Reference } from "./reference.ts";

function activationOf(code: number): (x: number) => number {
  const name = Object.entries(ACTIVATION_CODE).find(([, value]) => value === code)![0];
  return REFERENCE_ACTIVATIONS[name as keyof typeof REFERENCE_ACTIVATIONS];
}

/** Cuts all heads of an operand of attention out of its buffer, without padding. */
function headsOf(
  buffer: ArrayLike<number>,
  rows: number,
  heads: number,
  size: number,
  stride: number,
  offset: number,
  ld: number,
) {
  return Float64Array.from({ length: rows * heads * size }, (_, i) => {
    const row = Math.floor(i / (heads * size)), head = Math.floor(i / size) % heads;
    return buffer[offset + row * ld + head * stride + i % size];
  });
}

export const FORWARD_REFERENCES: Readonly<Record<string, Reference>> = {
  layer_norm({ x, weight, bias, y }, { rows, cols, eps }) {
    y.set(referenceLayerNorm(x.subarray(0, rows * cols), cols, weight, bias, eps));
  },
  rms_norm({ x, weight, y }, { rows, cols, eps }) {
    y.set(referenceRmsNorm(x.subarray(0, rows * cols), cols, weight, eps));
  },
  bias_activate: ({ bias, x }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      x[r * p.cols + c] = activationOf(p.activation)(x[r * p.cols + c] + (p.has_bias ? bias[c] : 0));
    }),
  gated_multiply: ({ gate, up, y }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const gated = activationOf(p.activation)(gate[p.gate_offset + r * p.ld_gate + c]);
      y[r * p.cols + c] = gated * up[p.up_offset + r * p.ld_up + c];
    }),
  soft_cap({ x }, { count, cap }) {
    for (let i = 0; i < count; i++) x[i] = cap * Math.tanh(x[i] / cap);
  },
  rotary: ({ table, x }, p) =>
    eachElement(p.rows, p.heads * p.pairs, (r, at) => {
      const i = at % p.pairs, first = p.offset + r * p.ld + Math.floor(at / p.pairs) * p.head_stride + i;
      const angles = r % p.tokens * 2 * p.pairs,
        cosine = table[angles + i],
        sine = table[angles + p.pairs + i];
      const [a, b] = [x[first], x[first + p.pairs]];
      x[first] = a * cosine - b * sine;
      x[first + p.pairs] = b * cosine + a * sine;
    }),
  add_rows: ({ x, index, factors, y }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const [row, factor] = p.has_index
        ? [index[p.offset + r], p.scale * factors[p.offset + r]]
        : [r, p.scale];
      y[row * p.cols + c] += factor * x[r * p.cols + c];
    }),
  attention({ q, k, v, slopes, out }, p) {
    const rows = p.batch * p.tokens, keys = p.batch * (p.past + p.tokens), width = p.heads * p.head_dim;
    const result = referenceAttention(
      {
        batch: p.batch,
        tokens: p.tokens,
        past: p.past,
        heads: p.heads,
        kvHeads: p.kv_heads,
        headDim: p.head_dim,
        scale: p.scale,
        window: p.window,
        softCap: p.soft_cap || undefined,
      },
      headsOf(q, rows, p.heads, p.head_dim, p.head_stride, p.q_offset, p.ldq),
      headsOf(k, keys, p.kv_heads, p.head_dim, p.head_stride, p.k_offset, p.ldk),
      headsOf(v, keys, p.kv_heads, p.head_dim, p.head_stride, p.v_offset, p.ldv),
      slopes,
    );
    eachElement(rows, width, (r, c) => out[r * p.ldo + c] = result[r * width + c]);
  },
  cross_entropy({ logits, targets, loss }, { rows, cols, ld }) {
    loss.set(referenceCrossEntropy(packed(logits, rows, cols, 0, ld), cols, targets.subarray(0, rows)));
  },
};
