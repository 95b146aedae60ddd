/**
 * The recurrence of linear attention, by the gated delta rule (Yang, Kautz and Hatamizadeh, arXiv 2412.06464) or by the rule of Mamba 2 (Dao and Gu,
 * arXiv 2405.21060).
 */

import { defineKernel, f32, linearGrid, u32 } from "../kernel.ts";
import { EXPONENTIAL, filled, signed, sumRoundings } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import heads from "../../../../shaders/shared/linear_attention.wgsl" with { type: "text" };
import code from "../../../../shaders/linear_attention.wgsl" with { type: "text" };

/** The most dimensions of a key. In the backward pass, each of them has an invocation of its own. */
export const MAX_KEY_DIM = 256;

/** The most tokens of one dispatch. A dispatch is then far shorter than the time after which a driver resets the GPU. */
export const MAX_DISPATCH_TOKENS = 100;

/** The most dimensions of a value. In the backward pass, the 4 MiB of scratch of a CPU thread hold two vectors of them and two of a key. */
export const MAX_VALUE_DIM = 2 ** 18;

/** The largest f32, as a `max_step` that limits nothing. */
export const MAX_F32 = (2 - 2 ** -23) * 2 ** 127;

/** The parameters of linear attention, forwards and backwards. */
export const LINEAR_ATTENTION_PARAMS = {
  ...u32("batch", "tokens", "first_row", "window_rows", "rows", "heads", "key_heads"),
  ...u32("key_dim", "value_dim", "q_offset", "k_offset", "v_offset"),
  ...f32("min_step", "max_step"),
  ...u32("is_delta", "keeps_states"),
};

/**
 * For each window, each head h and its tokens in order, with the state S of the head, (key_dim, value_dim), and the step
 * d = clamp(softplus(a + dt_bias[h]), min_step, max_step):
 *
 *     S ← exp(−exp(a_log[h])·d)·S
 *     S ← S + k·(σ(b)·(v − Sᵀ·k))ᵀ,  out ← Sᵀ·q/√key_dim       with is_delta = 1
 *     S ← S + d·k·vᵀ,                out ← Sᵀ·q + skip[h]·v    with is_delta = 0
 *
 * With is_delta = 1, the vectors q and k are divided by √(‖x‖² + 10⁻⁶) first, and `skip` is not read. Otherwise `b` is not read. σ is the
 * logistic function. Row first_row + w·window_rows + t of qkv, a, b and out belongs to token t < tokens of window w < batch. A row of qkv has the
 * queries of all `key_heads` from column q_offset on and their keys from k_offset on, key_dim elements each. From v_offset on it has the values of
 * all `heads`, value_dim elements each. It has nothing else. A row of out has the outputs of all heads. heads/key_heads consecutive heads share a
 * query and a key. `gates` has a, (rows, heads), and then b, (rows, heads). `head_vectors` has a_log, dt_bias and skip, (heads) each.
 *
 * `state` is (batch, heads, key_dim, value_dim). It has the states before the first token, and receives the states after the last token. With
 * keeps_states = 1, it is (tokens + 1, batch, heads, key_dim, value_dim) instead. The states before the first token are then in state[0], and the
 * states after token t are written to state[t + 1]. All buffers hold f32.
 */
export const linearAttention = defineKernel({
  name: "linear_attention",
  bindings: { qkv: "read", gates: "read", head_vectors: "read", state: "read_write", out: "read_write" },
  params: LINEAR_ATTENTION_PARAMS,
  shader: {
    code: shared + activation + heads + code,
    grid: (p) => linearGrid(p.batch * p.heads * p.value_dim, 64),
  },
  cases: () =>
    [1, 0].flatMap((is_delta) => [
      {
        feature: is_delta ? "the delta rule" : "the rule of Mamba 2",
        ...linearAttentionCase({ tokens: 19, key_dim: 9, value_dim: 7, is_delta }),
      },
      {
        feature: `all states, is_delta ${is_delta}`,
        ...linearAttentionCase({ batch: 2, tokens: 5, key_dim: 5, value_dim: 11, is_delta, keeps_states: 1 }),
      },
      {
        feature: `shared keys, is_delta ${is_delta}`,
        ...linearAttentionCase({
          ...{ batch: 2, tokens: 11, heads: 6, key_heads: 2, key_dim: 5, value_dim: 13 },
          is_delta,
        }),
      },
    ]),
});

export type LinearAttentionSize =
  & Readonly<Record<"tokens" | "key_dim" | "value_dim" | "is_delta", number>>
  & Readonly<Partial<Record<"batch" | "heads" | "key_heads" | "keeps_states", number>>>;

/**
 * A case with earlier rows, and rows between the windows. By default it has one window and two heads with keys of their own, and does not
 * keep the states. By the rule of Mamba 2, values come first, queries last, and both limits change some steps.
 */
export function linearAttentionCase(
  { batch = 1, heads = 2, key_heads = heads, keeps_states = 0, ...size }: LinearAttentionSize,
) {
  const { tokens, key_dim, value_dim, is_delta } = size;
  const first_row = 2, window_rows = tokens + 3, rows = first_row + batch * window_rows;
  const keys = key_heads * key_dim, values = heads * value_dim;
  const rule = is_delta
    ? { q_offset: 0, k_offset: keys, v_offset: 2 * keys, min_step: 0, max_step: MAX_F32 }
    : { q_offset: values + keys, k_offset: values, v_offset: 0, min_step: 0.25, max_step: 2.5 };
  const roundings = EXPONENTIAL + sumRoundings(tokens) + sumRoundings(key_dim);
  return {
    params: { ...size, ...rule, batch, first_row, window_rows, rows, heads, key_heads, keeps_states },
    buffers: () => ({
      qkv: signed(rows * (2 * keys + values), 461),
      gates: signed(2 * rows * heads, 462).map((value) => 4 * value),
      head_vectors: signed(3 * heads, 464),
      state: signed((keeps_states ? tokens + 1 : 1) * batch * key_dim * heads * value_dim, 466),
      out: filled(rows * heads * value_dim),
    }),
    roundings: { state: roundings, out: roundings },
  };
}
