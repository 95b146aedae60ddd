/** The recurrence of linear attention by the gated delta rule (Yang, Kautz and Hatamizadeh, arXiv 2412.06464). */

import { defineKernel, linearGrid } from "../kernel.ts";
import { EXPONENTIAL, filled, signed, sumRoundings } from "../kernel_case.ts";
import { loop } from "../loop_count.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import activation from "../../../../shaders/shared/activation.wgsl" with { type: "text" };
import code from "../../../../shaders/gated_delta.wgsl" with { type: "text" };

/** The most dimensions of a key, and the most tokens of one dispatch, by the limit of loop iterations on a software adapter. */
export const MAX_DELTA_KEY_DIM = 256, MAX_DELTA_TOKENS = 100;

/**
 * For each window, each head h and its tokens in order, with the state S of the head, (key_dim, value_dim):
 *
 *     S ← exp(−exp(a_log[h])·softplus(a + dt_bias[h]))·S
 *     S ← S + k·(σ(b)·(v − Sᵀ·k))ᵀ
 *     out ← Sᵀ·q/√key_dim
 *
 * The vectors q and k are divided by √(‖x‖² + 10⁻⁶) first. σ is the logistic function. Row first_row + w·window_rows + t of qkv, a, b
 * and out belongs to token t < tokens of window w < batch. A row of qkv has the queries and then the keys of all `key_heads`,
 * key_dim elements each, and then the values of all `heads`, value_dim elements each. A row of out has the outputs of all heads.
 * n = heads/key_heads consecutive heads share a query and a key. Head h has its a at column a_offset + ⌊h/n⌋·gate_stride + h mod n
 * of the rows of `a`, which are `lda` elements apart, and its b likewise. `state` is (batch, heads, key_dim, value_dim). It has the
 * states before the first token, and receives those after the last one. All buffers hold f32.
 */
export const gatedDelta = defineKernel({
  name: "gated_delta",
  bindings: {
    qkv: "read",
    a: "read",
    b: "read",
    a_log: "read",
    dt_bias: "read",
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
    a_offset: "u32",
    lda: "u32",
    b_offset: "u32",
    ldb: "u32",
    gate_stride: "u32",
  },
  shader: {
    code: shared + activation + code,
    entryPoint: "gated_delta",
    grid: (p) => linearGrid(p.batch * p.heads * p.value_dim, 64),
    loops: ({ tokens, key_dim }) => loop(tokens, loop(key_dim), loop(key_dim)),
  },
  cases: () => [
    gatedDeltaCase({ tokens: 19, key_dim: 9, value_dim: 7 }),
    {
      feature: "shared keys",
      ...gatedDeltaCase({ batch: 2, tokens: 11, heads: 6, key_heads: 2, key_dim: 5, value_dim: 13 }),
    },
  ],
});

type DeltaSize =
  & Readonly<Record<"tokens" | "key_dim" | "value_dim", number>>
  & Readonly<Partial<Record<"batch" | "heads" | "key_heads", number>>>;

/** A case with earlier rows, rows between the windows, and padding beside a and b. By default it has one window and two heads with keys of their own. */
export function gatedDeltaCase(
  { tokens, key_dim, value_dim, batch = 1, heads = 2, key_heads = heads }: DeltaSize,
) {
  const first_row = 2, window_rows = tokens + 3, rows = first_row + batch * window_rows;
  const gate_stride = heads / key_heads + 1, lda = key_heads * gate_stride + 5, ldb = lda + 2;
  const roundings = EXPONENTIAL + sumRoundings(tokens) + sumRoundings(key_dim);
  return {
    params: {
      ...{ batch, tokens, first_row, window_rows, heads, key_heads, key_dim, value_dim },
      ...{ a_offset: 2, lda, b_offset: 3, ldb, gate_stride },
    },
    buffers: () => ({
      qkv: signed(rows * (2 * key_heads * key_dim + heads * value_dim), 461),
      a: signed(rows * lda, 462).map((value) => 4 * value),
      b: signed(rows * ldb, 463).map((value) => 4 * value),
      a_log: signed(heads, 464),
      dt_bias: signed(heads, 465),
      state: signed(batch * heads * key_dim * value_dim, 466),
      out: filled(rows * heads * value_dim),
    }),
    roundings: { state: roundings, out: roundings },
  };
}
