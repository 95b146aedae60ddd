/**
 * Tests of attention. They cover sizes around the boundaries of workgroups and chunks, key heads that query heads share,
 * ALiBi, sliding windows, limited scores, q, k and v in one buffer, and scores at which exp overflows.
 */

import { attention, attentionCase } from "../../../src/device/kernels/forward/attention.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { eachTiling } from "../../support/backends.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

const SLOPES = [0.5, 0.1, 0, 1];

/** A case with q, k and v in one buffer. `stride` and `part` are the distances of two heads and of q, k and v. */
function fusedCase(stride: number, part: number, slopes: readonly number[]) {
  const heads = 3, head_dim = 20, tokens = 75, width = heads * head_dim, ld = 3 * width;
  const { params, buffers, roundings } = attentionCase({ tokens, heads, head_dim }, slopes);
  const place = {
    head_stride: stride,
    q_offset: 0,
    k_offset: part,
    v_offset: 2 * part,
    ldq: ld,
    ldk: ld,
    ldv: ld,
  };
  return {
    params: { ...params, ...place },
    buffers: () => {
      const fused = signed(tokens * ld, 4);
      return { ...buffers(), q: fused, k: fused, v: fused };
    },
    roundings,
  };
}

/**
 * A case with scores of thousands. The operands are multiples of 8 and 1/8, so that f32 represents the scores exactly and exp
 * receives no rounding errors.
 */
function largeScores(sameKeys: boolean) {
  const { params, buffers, roundings } = attentionCase({ tokens: 130, head_dim: 8 });
  const coarse = (count: number, seed: number, factor: number, unit: number) =>
    normals(count, seed).map((x) => Math.round(factor * x / unit) * unit);
  return {
    params: { ...params, scale: 1 },
    buffers: () => {
      const { q, k, ...others } = buffers();
      return {
        ...others,
        q: coarse(q.length, 1, 1000, 8),
        k: sameKeys ? k.fill(-4) : coarse(k.length, 2, 1, 0.125),
      };
    },
    roundings,
  };
}

testKernel(
  attention,
  { tolerance: 2e-6, suite: eachTiling },
  ...[1, 7, 63, 64, 65, 130, 200].flatMap((tokens) =>
    [16, 31, 64].map((head_dim) =>
      [
        `attends over ${tokens} tokens with ${head_dim} dimensions per head`,
        attentionCase({ tokens, head_dim, batch: 2 }),
      ] as const
    )
  ),
  ...[1, 3, 80, 128, 255, 256, 300, 512].map((head_dim) => {
    const { params, ...operands } = attentionCase({ tokens: 70, head_dim });
    const scaled = { ...operands, params: { ...params, scale: 1 / Math.sqrt(head_dim) } };
    return [`attends with ${head_dim} dimensions per head`, scaled] as const;
  }),
  ...[[1, 1], [4, 2], [6, 2], [4, 1], [5, 5]].map(([heads, kv_heads]) =>
    [
      `shares ${kv_heads} key heads among ${heads} query heads`,
      attentionCase({ tokens: 67, head_dim: 16, heads, kv_heads, batch: 3 }),
    ] as const
  ),
  ...[1, 2, 17, 64, 65, 129, 1000].map((window) =>
    [
      `attends only to the last ${window} tokens if the window has this length`,
      attentionCase({ tokens: 150, head_dim: 16, window }),
    ] as const
  ),
  ...[1, 17, 63, 64, 130].flatMap((past) =>
    [1, 65].map((tokens) =>
      [
        `attends from ${tokens} tokens to ${past} earlier ones`,
        ...[{}, { window: 20 }, { heads: 4, kv_heads: 2, soft_cap: 3 }].map((more) =>
          attentionCase({ tokens, past, head_dim: 16, batch: 2, ...more }, SLOPES)
        ),
      ] as const
    )
  ),
  ...[1, 17, 64, 65, 1000].map((window) =>
    [
      `attends only to earlier tokens of the same ${window} tokens if these are a chunk`,
      ...[{}, { past: 40 }].map((more) =>
        attentionCase({ tokens: 150, head_dim: 16, window, chunked: 1, ...more })
      ),
    ] as const
  ),
  [
    "leaves a part of the softmax to the sink of each head",
    ...[{}, { past: 70, window: 3 }, { window: 40, chunked: 1, soft_cap: 3 }].map((more) =>
      attentionCase(
        { tokens: 130, heads: 4, kv_heads: 2, head_dim: 16, batch: 2, has_sinks: 1, ...more },
        SLOPES,
      )
    ),
  ],
  [
    "biases the scores of each head by its ALiBi slope",
    attentionCase({ tokens: 130, head_dim: 16, heads: 3 }, [0.5, 0.0625, 2]),
  ],
  [
    "combines ALiBi slopes with a window and shared key heads",
    attentionCase({ tokens: 130, head_dim: 16, heads: 4, kv_heads: 2, window: 40 }, [0.5, 0, 0.25, 1]),
  ],
  ...[0.5, 3, 50].map((soft_cap) =>
    [
      `limits the scores to ${soft_cap} by tanh, before it adds the biases`,
      ...[[], [0.5, 0, 0.25, 1]].map((slopes) =>
        attentionCase({ tokens: 130, head_dim: 16, heads: 4, kv_heads: 2, window: 70, soft_cap }, slopes)
      ),
    ] as const
  ),
  [
    "scales the products by a negative number or zero",
    ...[-0.5, 0].map((scale) => attentionCase({ tokens: 70, head_dim: 16, scale, window: 40 })),
  ],
  ["accepts q, k and v side by side in each row of one buffer", fusedCase(20, 60, [])],
  ["accepts q, k and v of each head side by side in one buffer", fusedCase(60, 20, [0.5, 0.25, 0.125])],
  ["does not overflow for large positive or negative scores", largeScores(false), largeScores(true)],
);
