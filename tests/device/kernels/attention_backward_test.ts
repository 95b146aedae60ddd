/**
 * Tests of the gradients of attention. The references are compared with finite differences of the reference of `attention`, and the
 * kernels with the references: for sizes around the boundaries of workgroups and chunks, key heads that query heads share, ALiBi,
 * sliding windows, limited scores, and gradients in one buffer.
 */

import { ok } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { attention, attentionCase } from "../../../src/device/kernels/forward/attention.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { type KernelCase, signed, type Values } from "../../../src/device/kernels/kernel_case.ts";
import {
  attentionBackwardCase,
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
} from "../../../src/device/kernels/training/attention_backward.ts";
import { attentionStatistics } from "../../../src/device/kernels/training/attention_statistics.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { runReference } from "../../reference/run_reference.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachTiling } from "../../support/backends.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SLOPES = [0.5, 0.1, 0, 1];
const KERNELS = [
  ["q", attentionQueriesBackward],
  ["k", attentionKeysBackward],
  ["v", attentionValuesBackward],
] as const;

/** Arguments of `attentionCase` with each feature. */
const FEATURES: Readonly<Record<string, Parameters<typeof attentionCase>>> = {
  "one token": [{ tokens: 1, head_dim: 4 }],
  "shared key heads": [{ batch: 2, tokens: 9, heads: 5, kv_heads: 2, head_dim: 6 }],
  "ALiBi": [{ tokens: 12, head_dim: 5 }, SLOPES],
  "a sliding window": [{ batch: 2, tokens: 11, head_dim: 5, window: 4 }],
  "chunks": [{ batch: 2, tokens: 11, head_dim: 5, window: 4, chunked: 1 }],
  "sinks": [{ tokens: 9, head_dim: 7, has_sinks: 1 }],
  "limited scores": [{ tokens: 9, head_dim: 7, soft_cap: 1.5 }],
  "all of them": [{ tokens: 70, heads: 4, kv_heads: 2, head_dim: 3, window: 20, soft_cap: 2 }, SLOPES],
};

describe("the references of the gradients of attention", () => {
  for (const [feature, args] of Object.entries(FEATURES)) {
    for (const [operand, kernel] of KERNELS) {
      it(`agree with finite differences of attention with respect to ${operand}, with ${feature}`, () => {
        const { params: { past, ...params }, buffers } = attentionCase(...args);
        const { slopes, sinks, ...before } = buffers(), d_out = signed(before.out.length, 5);
        const [q, k, v] = [before.q, before.k, before.v].map((values) => Float64Array.from(values));
        const operands = { q, k, v }, zeros = (count: number) => new Float64Array(count);
        const attend = (changed: Readonly<Record<string, Float64Array>>) => {
          const buffers = { ...operands, slopes, sinks, ...changed, out: zeros(d_out.length) };
          return runReference(attention, buffers, { ...params, past }).out as Float64Array;
        };
        const empty = zeros(2 * params.heads * params.batch * params.tokens);
        const known = { q, k, slopes, sinks, out: attend({}), d_out };
        const { statistics } = runReference(attentionStatistics, { ...known, statistics: empty }, params);
        const gradient = runReference(kernel, {
          ...operands,
          slopes,
          d_out,
          statistics,
          gradient: zeros(operands[operand].length),
        }, params).gradient as Float64Array;

        // The derivative of Σ d_out·out along random directions, by a formula of fourth order.
        for (let seed = 10; seed < 15; seed++) {
          const direction = signed(gradient.length, seed);
          const lossAt = (step: number) => {
            const moved = operands[operand].map((value, i) => value + step * direction[i]);
            return attend({ [operand]: moved }).reduce((sum, value, i) => sum + value * d_out[i], 0);
          };
          const h = 2 ** -10;
          const slope = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
          const expected = gradient.reduce((sum, value, i) => sum + value * direction[i], 0);
          const scale = gradient.reduce((sum, value, i) => sum + Math.abs(value * direction[i]), 0);
          ok(
            Math.abs(slope - expected) <= 1e-9 * (scale + 1),
            `${slope} is measured, and ${expected} expected`,
          );
        }
      });
    }
  }
});

for (const [operand, kernel] of KERNELS) {
  const made = (...args: Parameters<typeof attentionCase>) => attentionBackwardCase(operand, ...args);
  testKernel(
    kernel,
    { tolerance: 3e-6, suite: eachTiling },
    ...[1, 7, 63, 64, 65, 130, 200].flatMap((tokens) =>
      [16, 31, 64].map((head_dim) =>
        [
          `adds the gradient of ${tokens} tokens with ${head_dim} dimensions per head`,
          made({ tokens, head_dim, batch: 2 }),
        ] as const
      )
    ),
    ...[1, 3, 80, 128, 255, 300, 512].map((head_dim) =>
      [`adds the gradient of heads of ${head_dim} dimensions`, made({ tokens: 70, head_dim })] as const
    ),
    ...[[4, 2], [4, 1], [5, 5], [5, 2]].map(([heads, kv_heads]) =>
      [
        `shares ${kv_heads} key heads among ${heads} query heads`,
        made({ tokens: 67, head_dim: 16, heads, kv_heads, batch: 3 }),
      ] as const
    ),
    ...[1, 2, 17, 64, 65, 129, 1000].map((window) =>
      [
        `adds only pairs of tokens in a window of ${window}`,
        made({ tokens: 150, head_dim: 16, window }),
      ] as const
    ),
    ...[0.5, 3, 50].map((soft_cap) =>
      [
        `applies the slope of tanh if the scores are limited to ${soft_cap}`,
        made({ tokens: 130, head_dim: 16, heads: 4, kv_heads: 2, window: 70, soft_cap }, SLOPES),
      ] as const
    ),
  );
}

/** Runs one kernel and returns the buffers that it writes. */
type Dispatch = (
  kernel: Kernel,
  before: Readonly<Record<string, Values>>,
  params: KernelCase["params"],
) => Promise<Readonly<Record<string, ArrayLike<number>>>>;

/** Runs attention and then its gradients. q, k and v are side by side in each row of one buffer, and so are the gradients. */
async function fusedGradient(dispatch: Dispatch, args: Parameters<typeof attentionCase>) {
  const { params: { past, ...params }, buffers } = attentionCase(...args);
  const { batch, tokens, heads, kv_heads, head_stride } = params, rows = batch * tokens;
  const k_offset = heads * head_stride, v_offset = k_offset + kv_heads * head_stride;
  const ld = v_offset + kv_heads * head_stride;
  const place = { ...params, q_offset: 0, ldq: ld, k_offset, ldk: ld, v_offset, ldv: ld };
  const run = async (kernel: unknown, name: string, before: Parameters<Dispatch>[1], more = {}) =>
    Float32Array.from((await dispatch(kernel as Kernel, before, { ...place, ...more }))[name]);

  const qkv = signed(rows * ld, 6),
    { slopes, sinks, out: empty } = buffers(),
    d_out = signed(empty.length, 7);
  const operands = { q: qkv, k: qkv, v: qkv, slopes };
  const out = await run(attention, "out", { ...operands, sinks, out: empty }, { past });
  const known = { q: qkv, k: qkv, slopes, sinks, out, d_out };
  const unset = new Float32Array(2 * heads * rows);
  const statistics = await run(attentionStatistics, "statistics", { ...known, statistics: unset });
  let gradient: Values = new Float32Array(rows * ld);
  for (const [, kernel] of KERNELS) {
    gradient = await run(kernel, "gradient", { ...operands, d_out, statistics, gradient });
  }
  return gradient;
}

eachTiling("the gradients of attention", (backend) => {
  it("are those of the references if every kernel reads what the one before it wrote", async () => {
    for (const args of Object.values(FEATURES)) {
      const actual = await fusedGradient((...dispatch) => dispatchCase(backend(), ...dispatch), args);
      const expected = await fusedGradient((...dispatch) => Promise.resolve(runReference(...dispatch)), args);
      assertClose(actual, expected, 3e-6, { label: JSON.stringify(args) });
    }
  });
});
