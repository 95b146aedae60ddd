/** The backward pass of linear attention (`forward/linear_attention.ts`), which has two kernels for both rules. */

import {
  LINEAR_ATTENTION_PARAMS,
  linearAttentionCase,
  type LinearAttentionSize,
} from "../forward/linear_attention.ts";
import { defineKernel, linearGrid, rowGrid } from "../kernel.ts";
import { EXPONENTIAL, signed, sumRoundings } from "../kernel_case.ts";
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import heads from "../../../../shaders/shared/linear_attention.wgsl" with { type: "text" };
import linear from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import sums from "../../../../shaders/shared/workgroup_sum.wgsl" with { type: "text" };
import gradientCode from "../../../../shaders/linear_attention_backward.wgsl" with { type: "text" };

const code = linear + activation + sums + heads + gradientCode;

/**
 * The gradients D of the states, and d_v of the values. For each window and head, and its tokens from the last one back, with q, k, d and the decay g
 * as in `linearAttention`, and q also divided by √key_dim with is_delta = 1:
 *
 *     D[t + 1] ← D[t + 1] + q·d_outᵀ,  d_v ← d_v + s·D[t + 1]ᵀ·k,  D[t] ← g·(D[t + 1] − is_delta·s·k·(D[t + 1]ᵀ·k)ᵀ)
 *
 * Here s is σ(b) or, with is_delta = 0, the step d. Then d_v also gets skip[h]·d_out. `state_gradients` is (tokens + 1, batch, heads, key_dim,
 * value_dim), and its last part has the gradient of the states after the last token at first. In the end, part t + 1 is the gradient of the states
 * after token t, and part 0 the gradient of the states before the first token. d_out has the layout of `out`, and d_v is in the places of the values
 * in `d_qkv`. The parameters are the same as for `linearAttention`. All buffers hold f32.
 */
export const linearAttentionStatesBackward = defineKernel({
  name: "linear_attention_states_backward",
  bindings: {
    qkv: "read",
    gates: "read",
    head_vectors: "read",
    d_out: "read",
    state_gradients: "read_write",
    d_qkv: "read_write",
  },
  params: LINEAR_ATTENTION_PARAMS,
  shader: { code, grid: (p) => linearGrid(p.batch * p.heads * p.value_dim, 64) },
  cases: () => sizes().map(({ feature, ...size }) => ({ feature, ...statesBackwardCase(size) })),
});

/**
 * Adds the gradients of the queries and keys to `d_qkv`, and the gradients of a and b to `d_gates`, in the layouts of `qkv` and `gates`.
 * `linearAttention` computes `states` with keeps_states = 1, and {@link linearAttentionStatesBackward} computes `state_gradients`. For each token t
 * and head, with S = states[t], D = state_gradients[t + 1], e = Dᵀ·k, u = is_delta·Sᵀ·k, r = v − g·u, and g, s, q and k as there:
 *
 *     d_q ← states[t + 1]·d_out,  d_k ← D·(s·r) − is_delta·s·g·S·e,  d_s ← e·r,  d_g ← ⟨D, S⟩ − s·e·u
 *
 * where ⟨D, S⟩ is the sum of the products of the elements. The gradients then pass through the functions that give q and k their length, and
 * that compute s and g from a and b. The gradient of a is 0 if the step is limited. The parameters are the same as for `linearAttention`. key_dim is
 * at most 256. All buffers hold f32.
 */
export const linearAttentionInputsBackward = defineKernel({
  name: "linear_attention_inputs_backward",
  bindings: {
    qkv: "read",
    gates: "read",
    head_vectors: "read",
    d_out: "read",
    states: "read",
    state_gradients: "read",
    d_qkv: "read_write",
    d_gates: "read_write",
  },
  params: LINEAR_ATTENTION_PARAMS,
  shader: { code, grid: (p) => rowGrid({ rows: p.batch * p.tokens * p.key_heads }) },
  cases: () => sizes().map(({ feature, ...size }) => ({ feature, ...inputsBackwardCase(size) })),
});

function sizes(): (LinearAttentionSize & { readonly feature: string })[] {
  return [1, 0].flatMap((is_delta) => [
    {
      feature: is_delta ? "the delta rule" : "the rule of Mamba 2",
      ...{ tokens: 9, key_dim: 9, value_dim: 7, is_delta },
    },
    {
      feature: `shared keys, is_delta ${is_delta}`,
      ...{ batch: 2, tokens: 3, heads: 6, key_heads: 2, key_dim: 5, value_dim: 261, is_delta },
    },
  ]);
}

/** A case whose gradients of the outputs, and of the states after the last token, are random. */
export function statesBackwardCase(size: LinearAttentionSize) {
  const { params, buffers, roundings } = linearAttentionCase({ ...size, keeps_states: 1 });
  return {
    params,
    buffers: () => {
      const { qkv, gates, head_vectors, state, out } = buffers();
      const [d_out, d_qkv] = [signed(out.length, 831), signed(qkv.length, 832)];
      return { qkv, gates, head_vectors, d_out, state_gradients: state, d_qkv };
    },
    roundings: { state_gradients: roundings.state, d_qkv: roundings.state },
  };
}

/** A case whose states, and their gradients, are random. */
export function inputsBackwardCase(size: LinearAttentionSize) {
  const { params, buffers } = statesBackwardCase(size), { heads, key_heads, key_dim, value_dim } = params;
  const terms = value_dim * heads / key_heads;
  const roundings = EXPONENTIAL + sumRoundings(terms) + 2 * sumRoundings(key_dim);
  return {
    params,
    buffers: () => {
      const { state_gradients, d_qkv, ...others } = buffers();
      const states = signed(state_gradients.length, 833), d_gates = signed(others.gates.length, 834);
      return { ...others, states, state_gradients, d_qkv, d_gates };
    },
    roundings: { d_qkv: roundings, d_gates: roundings + sumRoundings(key_dim * value_dim) },
  };
}
