import type { Params, Reference } from "../kernel_reference.ts";

/** Returns `count` elements from `start` on. */
function vectorAt(x: ArrayLike<number>, start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => x[start + i]);
}

function normalized(vector: readonly number[]): number[] {
  const length = Math.sqrt(vector.reduce((sum, element) => sum + element ** 2, 0) + 1e-6);
  return vector.map((element) => element / length);
}

/** Returns the column of a head in the rows of a and b, without their offset. */
function gateColumn(head: number, { heads, key_heads, gate_stride }: Params): number {
  const sharedBy = heads / key_heads;
  return Math.floor(head / sharedBy) * gate_stride + head % sharedBy;
}

/**
 * The gated delta rule (Yang et al., arXiv 2412.06464, equation 10) and the recurrence of Mamba 2 (Dao and Gu, arXiv 2405.21060, section 2)
 * from their definitions, with the state as a matrix of rows.
 */
export const linear_attention: Reference = ({ qkv, a, b, a_log, dt_bias, skip, state, out }, p) => {
  const { heads, key_heads, key_dim, value_dim, is_delta } = p;
  const width = 2 * key_heads * key_dim + heads * value_dim,
    unitVector = is_delta ? normalized : (x: number[]) => x;
  for (let w = 0; w < p.batch; w++) {
    for (let h = 0; h < heads; h++) {
      const column = gateColumn(h, p), start = (w * heads + h) * key_dim * value_dim;
      for (let t = 0; t < p.tokens; t++) {
        const row = p.first_row + w * p.window_rows + t;
        const ofKeyHead = row * width + Math.floor(h * key_heads / heads) * key_dim;
        const q = unitVector(vectorAt(qkv, ofKeyHead + p.q_offset, key_dim));
        const k = unitVector(vectorAt(qkv, ofKeyHead + p.k_offset, key_dim));
        const softplus = Math.log1p(Math.exp(a[p.a_offset + row * p.lda + column] + dt_bias[h]));
        const step = Math.min(Math.max(softplus, p.min_step), p.max_step);
        const decay = Math.exp(-Math.exp(a_log[h]) * step);
        const beta = 1 / (1 + Math.exp(-b[p.b_offset + row * p.ldb + column]));
        for (let j = 0; j < value_dim; j++) {
          const at = (i: number) => start + i * value_dim + j;
          const value = qkv[row * width + p.v_offset + h * value_dim + j];
          for (let i = 0; i < key_dim; i++) state[at(i)] *= decay;
          const remembered = k.reduce((sum, key, i) => sum + key * state[at(i)], 0);
          const change = is_delta ? beta * (value - remembered) : step * value;
          for (let i = 0; i < key_dim; i++) state[at(i)] += k[i] * change;
          const product = q.reduce((sum, query, i) => sum + query * state[at(i)], 0);
          out[row * heads * value_dim + h * value_dim + j] = is_delta
            ? product / Math.sqrt(key_dim)
            : product + skip[h] * value;
        }
      }
    }
  }
};
