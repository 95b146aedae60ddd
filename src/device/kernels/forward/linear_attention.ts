/**
 * The recurrence of linear attention, by the gated delta rule (Yang, Kautz and Hatamizadeh, arXiv 2412.06464) or by that of Mamba 2 (Dao and
 * Gu, arXiv 2405.21060).
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import { EXPONENTIAL, filled, signed, sumRoundings } from "../kernel_case.ts";
import { loop } from "../loop_count.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import code from "../../../../shaders/linear_attention.wgsl" with { type: "text" };

/** The most dimensions of a key, and the most tokens of one dispatch, by the limit of loop iterations on a software adapter. */
export const MAX_KEY_DIM = 256, MAX_DISPATCH_TOKENS = 100;

/** The most dimensions of a value, by the 4 MiB of scratch memory of a thread on the CPU. */
export const MAX_VALUE_DIM = 2 ** 20;

/** The largest f32, as a `max_step` that limits nothing. */
export const MAX_F32 = (2 - 2 ** -23) * 2 ** 127;

/**
 * For each window, each head h and its tokens in order, with the state S of the head, (key_dim, value_dim), and the step
 * d = clamp(softplus(a + dt_bias[h]), min_step, max_step):
 *
 *     S ← exp(−exp(a_log[h])·d)·S
 *     S ← S + k·(σ(b)·(v − Sᵀ·k))ᵀ,  out ← Sᵀ·q/√key_dim       with is_delta = 1
 *     S ← S + d·k·vᵀ,                out ← Sᵀ·q + skip[h]·v    with is_delta = 0
 *
 * With is_delta = 1, the vectors q and k are divided by √(‖x‖² + 10⁻⁶) first, and `skip` is not read. Otherwise `b` is not read. σ is the
 * logistic function. Row first_row + w·window_rows + t of qkv, a, b and out belongs to token t < tokens of window w < batch. A row of qkv has
 * the queries of all `key_heads` from column q_offset on, key_dim elements each, their keys from k_offset on, and from v_offset on the values
 * of all `heads`, value_dim elements each, and nothing else. A row of out has the outputs of all heads. n = heads/key_heads consecutive heads
 * share a query and a key. Head h has its a at column a_offset + ⌊h/n⌋·gate_stride + h mod n of the rows of `a`, which are `lda` elements
 * apart, and its b likewise. `state` is (batch, heads, key_dim, value_dim). It has the states before the first token, and receives those after
 * the last one. All buffers hold f32.
 */
export const linearAttention = defineKernel({
  name: "linear_attention",
  bindings: {
    qkv: "read",
    a: "read",
    b: "read",
    a_log: "read",
    dt_bias: "read",
    skip: "read",
    state: "read_write",
    out: "read_write",
  },
  params: {
    batch: "u32",
    tokens: "u32",
    first_row: "u32",
    window_rows: "u32",
    heads: "u32",
    key_heads: "u32",
    key_dim: "u32",
    value_dim: "u32",
    q_offset: "u32",
    k_offset: "u32",
    v_offset: "u32",
    a_offset: "u32",
    lda: "u32",
    b_offset: "u32",
    ldb: "u32",
    gate_stride: "u32",
    min_step: "f32",
    max_step: "f32",
    is_delta: "u32",
  },
  shader: {
    code: shared + activation + code,
    entryPoint: "linear_attention",
    grid: (p) => linearGrid(p.batch * p.heads * p.value_dim, 64),
    loops: ({ tokens, key_dim }) => loop(tokens, loop(key_dim), loop(key_dim)),
  },
  cases: () =>
    [1, 0].flatMap((is_delta) => [
      {
        feature: is_delta ? "the delta rule" : "the rule of Mamba 2",
        ...linearAttentionCase({ tokens: 19, key_dim: 9, value_dim: 7, is_delta }),
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

type LinearAttentionSize =
  & Readonly<Record<"tokens" | "key_dim" | "value_dim" | "is_delta", number>>
  & Readonly<Partial<Record<"batch" | "heads" | "key_heads", number>>>;

/**
 * A case with earlier rows, rows between the windows, and padding beside a and b. By default it has one window and two heads with keys of
 * their own. By the rule of Mamba 2, values come first, queries last, and both limits change some steps.
 */
export function linearAttentionCase(
  { tokens, key_dim, value_dim, is_delta, batch = 1, heads = 2, key_heads = heads }: LinearAttentionSize,
) {
  const first_row = 2, window_rows = tokens + 3, rows = first_row + batch * window_rows;
  const gate_stride = heads / key_heads + 1, lda = key_heads * gate_stride + 5, ldb = lda + 2;
  const keys = key_heads * key_dim, values = heads * value_dim;
  const rule = is_delta
    ? { q_offset: 0, k_offset: keys, v_offset: 2 * keys, min_step: 0, max_step: MAX_F32 }
    : { q_offset: values + keys, k_offset: values, v_offset: 0, min_step: 0.25, max_step: 2.5 };
  const roundings = EXPONENTIAL + sumRoundings(tokens) + sumRoundings(key_dim);
  return {
    params: {
      ...{ batch, tokens, first_row, window_rows, heads, key_heads, key_dim, value_dim },
      ...{ ...rule, a_offset: 2, lda, b_offset: 3, ldb, gate_stride, is_delta },
    },
    buffers: () => ({
      qkv: signed(rows * (2 * keys + values), 461),
      a: signed(rows * lda, 462).map((value) => 4 * value),
      b: signed(rows * ldb, 463).map((value) => 4 * value),
      a_log: signed(heads, 464),
      dt_bias: signed(heads, 465),
      skip: signed(heads, 467),
      state: signed(batch * heads * key_dim * value_dim, 466),
      out: filled(rows * heads * value_dim),
    }),
    roundings: { state: roundings, out: roundings },
  };
}
