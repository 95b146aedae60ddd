/**
 * Tests of both rules of linear attention: odd sizes of heads, shared keys, the longest dispatch, gates at which exp overflows, and small
 * steps.
 */

import {
  linearAttention,
  linearAttentionCase,
  MAX_DISPATCH_TOKENS,
} from "../../../src/device/kernels/forward/linear_attention.ts";
import { testKernel } from "../../support/kernel_cases.ts";

type Operands = ReturnType<ReturnType<typeof linearAttentionCase>["buffers"]>;

/** Returns a case of a rule whose operands are changed. */
function changedCase(is_delta: number, change: (operands: Operands) => Partial<Operands>, limits = {}) {
  const original = linearAttentionCase({ tokens: 30, key_dim: 8, value_dim: 5, is_delta });
  return {
    ...original,
    params: { ...original.params, ...limits },
    buffers: () => ({ ...original.buffers(), ...change(original.buffers()) }),
  };
}

const times = (factor: number, values: Float32Array<ArrayBuffer>) => values.map((value) => factor * value);

testKernel(
  linearAttention,
  { tolerance: 4e-6 },
  ...[1, 0].flatMap((is_delta) => {
    const rule = is_delta ? "the delta rule" : "the rule of Mamba 2";
    return [
      ...[1, 4, 31, 128, 256].map((key_dim) =>
        [
          `runs ${rule} on heads with keys of ${key_dim} dimensions`,
          ...[1, 8, 33].map((value_dim) =>
            linearAttentionCase({ tokens: 23, key_dim, value_dim, batch: 2, is_delta })
          ),
        ] as const
      ),
      ...[[1, 1], [4, 2], [6, 2], [5, 1]].map(([heads, key_heads]) =>
        [
          `runs ${rule} with ${key_heads} keys shared among ${heads} heads`,
          linearAttentionCase({ tokens: 17, heads, key_heads, key_dim: 6, value_dim: 9, batch: 3, is_delta }),
        ] as const
      ),
      [
        `runs ${rule} on ${MAX_DISPATCH_TOKENS} tokens, the most of one dispatch`,
        linearAttentionCase({ tokens: MAX_DISPATCH_TOKENS, key_dim: 128, value_dim: 64, is_delta }),
      ] as const,
      [
        `keeps the states of all tokens by ${rule}`,
        linearAttentionCase({ tokens: 17, key_dim: 6, value_dim: 9, batch: 3, is_delta, keeps_states: 1 }),
      ] as const,
      [
        `does not overflow by ${rule} for huge gates`,
        changedCase(is_delta, ({ gates }) => ({ gates: times(100, gates) })),
      ] as const,
    ];
  }),
  [
    "adds the epsilon to the lengths of short vectors, and of zeros",
    ...[1e-3, 0].map((factor) => changedCase(1, ({ qkv }) => ({ qkv: times(factor, qkv) }))),
  ],
  [
    "computes steps of 10⁻³ as exactly as large ones",
    changedCase(0, ({ gates, head_vectors, state }) => ({
      gates: gates.map((value) => value / 4 - 7),
      head_vectors: head_vectors.map((value, i) => 3 * i < 2 * head_vectors.length ? value : 0),
      state: times(0, state),
    }), { min_step: 0 }),
  ],
);
