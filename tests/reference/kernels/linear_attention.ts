import type { Contents, Params, Reference } from "../kernel_reference.ts";

/** Returns `count` elements from `start` on. */
export function vectorAt(x: ArrayLike<number>, start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => x[start + i]);
}

/** Returns x/√(‖x‖² + 10⁻⁶). */
export function unitVector(vector: readonly number[]): number[] {
  const length = Math.sqrt(vector.reduce((sum, element) => sum + element ** 2, 0) + 1e-6);
  return vector.map((element) => element / length);
}

/**
 * Returns the factor `decay` of the state, the factor `strength` of the change of the state, the derivative `rate` of ln(decay) with respect to
 * the step, and the derivative `slope` of the step with respect to a.
 */
export function gatesOf({ gates, head_vectors }: Contents, p: Params, row: number, head: number) {
  const a = gates[row * p.heads + head] + head_vectors[p.heads + head], softplus = Math.log1p(Math.exp(a));
  const step = Math.min(Math.max(softplus, p.min_step), p.max_step), rate = -Math.exp(head_vectors[head]);
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  return {
    decay: Math.exp(rate * step),
    strength: p.is_delta ? sigmoid(gates[(p.rows + row) * p.heads + head]) : step,
    rate,
    slope: softplus === step ? sigmoid(a) : 0,
  };
}

/**
 * The gated delta rule (Yang et al., arXiv 2412.06464, equation 10) and the recurrence of Mamba 2 (Dao and Gu, arXiv 2405.21060, section 2)
 * from their definitions, with the state as a matrix of rows.
 */
export const linear_attention: Reference = (buffers, p) => {
  const { qkv, head_vectors, state, out } = buffers, { heads, key_heads, key_dim, value_dim, is_delta } = p;
  const width = 2 * key_heads * key_dim + heads * value_dim;
  const scaled = is_delta ? unitVector : (x: number[]) => x, stateSize = key_dim * value_dim;
  for (let w = 0; w < p.batch; w++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < p.tokens; t++) {
        const row = p.first_row + w * p.window_rows + t;
        const ofKeyHead = row * width + Math.floor(h * key_heads / heads) * key_dim;
        const q = scaled(vectorAt(qkv, ofKeyHead + p.q_offset, key_dim));
        const k = scaled(vectorAt(qkv, ofKeyHead + p.k_offset, key_dim));
        const { decay, strength } = gatesOf(buffers, p, row, h);
        const before = ((p.keeps_states ? t * p.batch + w : w) * heads + h) * stateSize;
        const after = before + (p.keeps_states ? p.batch * heads * stateSize : 0);
        for (let j = 0; j < value_dim; j++) {
          const value = qkv[row * width + p.v_offset + h * value_dim + j];
          let remembered = 0, product = 0;
          for (let i = 0; i < key_dim; i++) remembered += k[i] * decay * state[before + i * value_dim + j];
          const change = strength * (is_delta ? value - remembered : value);
          for (let i = 0; i < key_dim; i++) {
            const updated = decay * state[before + i * value_dim + j] + k[i] * change;
            state[after + i * value_dim + j] = updated;
            product += q[i] * updated;
          }
          out[row * heads * value_dim + h * value_dim + j] = is_delta
            ? product / Math.sqrt(key_dim)
            : product + head_vectors[2 * heads + h] * value;
        }
      }
    }
  }
};
