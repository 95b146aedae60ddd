/**
 * Tests of the gradients of linear attention by both rules. The references are compared with finite differences of the reference of
 * `linearAttention`, and the kernels with the references: for odd sizes of heads, shared keys, huge gates, and short vectors.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import {
  linearAttention,
  linearAttentionCase,
  type LinearAttentionSize,
} from "../../../src/device/kernels/forward/linear_attention.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { type KernelCase, signed, type Values } from "../../../src/device/kernels/kernel_case.ts";
import {
  inputsBackwardCase,
  linearAttentionInputsBackward,
  linearAttentionStatesBackward,
  statesBackwardCase,
} from "../../../src/device/kernels/training/linear_attention_backward.ts";
import { runReference } from "../../reference/run_reference.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const RULES = [[1, "the delta rule"], [0, "the rule of Mamba 2"]] as const;

/** Compares the gradients of Σ d_out·out + Σ d_last·(the states after the last token) with differences of the fourth order. */
function assertDifferences(size: LinearAttentionSize): void {
  const { params, buffers } = linearAttentionCase({ ...size, keeps_states: 1 });
  const { qkv, gates, head_vectors, state, out } = buffers(),
    zeros = (like: ArrayLike<number>) => new Float64Array(like.length);
  const stateSize = state.length / (params.tokens + 1), last = params.tokens * stateSize;
  const d_out = signed(out.length, 1), state_gradients = Float64Array.from(signed(state.length, 2));
  const operands = {
    qkv: Float64Array.from(qkv),
    gates: Float64Array.from(gates),
    state: Float64Array.from(state),
  };
  const run = (changed: Partial<typeof operands>) =>
    runReference(
      linearAttention,
      { head_vectors, ...operands, ...changed, out: zeros(out) },
      params,
    ) as Readonly<
      Record<"state" | "out", Float64Array>
    >;
  const known = { qkv, gates, head_vectors, d_out };
  const first = runReference(
    linearAttentionStatesBackward,
    { ...known, state_gradients, d_qkv: zeros(qkv) },
    params,
  ) as Readonly<Record<"state_gradients" | "d_qkv", Float64Array>>;
  const { d_qkv, d_gates } = runReference(linearAttentionInputsBackward, {
    ...known,
    states: run({}).state,
    state_gradients: first.state_gradients,
    d_qkv: first.d_qkv,
    d_gates: zeros(gates),
  }, params);
  const ofStates = first.state_gradients.map((value, i) => i < stateSize ? value : 0);
  const gradients = { qkv: d_qkv, gates: d_gates, state: ofStates };
  for (const name of ["qkv", "gates", "state"] as const) {
    for (let seed = 10; seed < 15; seed++) {
      const direction = signed(operands[name].length, seed), h = 2 ** -10;
      const lossAt = (step: number) => {
        const after = run({ [name]: operands[name].map((value, i) => value + step * direction[i]) });
        const ofOut = after.out.reduce((sum, value, i) => sum + value * d_out[i], 0);
        return after.state.slice(last).reduce(
          (sum, value, i) => sum + value * state_gradients[last + i],
          ofOut,
        );
      };
      const slope = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
      const products = Array.from(gradients[name], (value, i) => value * direction[i]);
      const expected = products.reduce((sum, value) => sum + value, 0);
      const scale = products.reduce((sum, value) => sum + Math.abs(value), 1);
      assert.ok(
        Math.abs(slope - expected) <= 1e-8 * scale,
        `${name}: ${slope} is measured, expected ${expected}`,
      );
    }
  }
}

describe("the references of the gradients of linear attention", () => {
  for (const [is_delta, rule] of RULES) {
    for (
      const [what, size] of [
        ["one token", { tokens: 1, key_dim: 3, value_dim: 4 }],
        ["several windows", { batch: 2, tokens: 6, key_dim: 5, value_dim: 3 }],
        ["shared keys", { tokens: 5, heads: 6, key_heads: 2, key_dim: 4, value_dim: 3 }],
      ] as const
    ) {
      it(`agree with finite differences by ${rule}, with ${what}`, () =>
        assertDifferences({ ...size, is_delta }));
    }
  }
});

/** Multiplies the gates, and the queries, keys and values, of a case. */
function scaledCase<B extends string, P extends string>(
  { buffers, ...original }: KernelCase<B | "qkv" | "gates", P>,
  factors: { readonly qkv?: number; readonly gates?: number },
) {
  const scaled = (values: Values, factor = 1) => Float32Array.from(values, (value) => factor * value);
  return {
    ...original,
    buffers: () => {
      const operands = buffers(), { qkv, gates } = operands;
      return { ...operands, qkv: scaled(qkv, factors.qkv), gates: scaled(gates, factors.gates) };
    },
  };
}

function testGradients<B extends string, P extends string>(
  kernel: Kernel<B | "qkv" | "gates", P>,
  caseOf: (size: LinearAttentionSize) => KernelCase<B | "qkv" | "gates", P>,
): void {
  testKernel(
    kernel,
    { tolerance: 4e-6 },
    ...RULES.flatMap(([is_delta, rule]) => {
      const small = { tokens: 9, key_dim: 8, value_dim: 5, is_delta };
      return [
        // The gradient of a number of which only the sign is used is 0, so it would have nothing but rounding errors.
        ...[is_delta ? 3 : 1, 4, 31, 128, 256].map((key_dim) =>
          [
            `adds the gradients by ${rule} for keys of ${key_dim} dimensions`,
            ...[1, 8, 33].map((value_dim) => caseOf({ tokens: 5, key_dim, value_dim, batch: 2, is_delta })),
          ] as const
        ),
        [
          `adds the gradients by ${rule} for values of more dimensions than a workgroup has invocations`,
          ...[256, 257, 600].map((value_dim) => caseOf({ tokens: 2, key_dim: 7, value_dim, is_delta })),
        ] as const,
        ...[[1, 1], [4, 2], [6, 2], [5, 1]].map(([heads, key_heads]) =>
          [
            `adds the gradients by ${rule} for ${key_heads} keys shared among ${heads} heads`,
            caseOf({ tokens: 7, heads, key_heads, key_dim: 6, value_dim: 9, batch: 3, is_delta }),
          ] as const
        ),
        [`adds the gradients of 100 tokens by ${rule}`, caseOf({ ...small, tokens: 100 })] as const,
        [
          `adds the gradients by ${rule} for huge gates, and for short vectors and zeros`,
          scaledCase(caseOf(small), { gates: 100 }),
          ...[1e-3, 0].map((factor) => scaledCase(caseOf(small), { qkv: factor })),
        ] as const,
      ];
    }),
  );
}

testGradients(linearAttentionStatesBackward, statesBackwardCase);
testGradients(linearAttentionInputsBackward, inputsBackwardCase);
