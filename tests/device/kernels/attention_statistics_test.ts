/**
 * Tests of the statistics of attention. They cover sizes around the boundaries of workgroups and chunks, key heads that query heads
 * share, ALiBi, sliding windows and limited scores.
 */

import {
  attentionStatistics,
  attentionStatisticsCase,
} from "../../../src/device/kernels/training/attention_statistics.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SLOPES = [0.5, 0.1, 0, 1];

testKernel(
  attentionStatistics,
  { tolerance: 2e-6 },
  ...[1, 7, 63, 64, 65, 130, 200].flatMap((tokens) =>
    [16, 31, 64].map((head_dim) =>
      [
        `computes the statistics of ${tokens} tokens with ${head_dim} dimensions per head`,
        attentionStatisticsCase({ tokens, head_dim, batch: 2 }),
      ] as const
    )
  ),
  ...[1, 3, 80, 128, 255, 512].map((head_dim) =>
    [
      `computes the statistics of heads of ${head_dim} dimensions`,
      attentionStatisticsCase({ tokens: 70, head_dim }),
    ] as const
  ),
  ...[[4, 2], [4, 1], [5, 5], [5, 2]].map(([heads, kv_heads]) =>
    [
      `shares ${kv_heads} key heads among ${heads} query heads`,
      attentionStatisticsCase({ tokens: 67, head_dim: 16, heads, kv_heads, batch: 3 }),
    ] as const
  ),
  ...[1, 2, 17, 64, 65, 1000].map((window) =>
    [
      `sums only over the last ${window} tokens if the window has this length`,
      attentionStatisticsCase({ tokens: 150, head_dim: 16, window }),
    ] as const
  ),
  [
    "adds the sink of each head, and sums over the tokens of a chunk",
    ...[17, 64, 1000].map((window) =>
      attentionStatisticsCase({ tokens: 150, head_dim: 16, window, chunked: 1, has_sinks: 1 }, SLOPES)
    ),
  ],
  ...[0.5, 3, 50].map((soft_cap) =>
    [
      `limits the scores to ${soft_cap} by tanh, before it adds the biases`,
      attentionStatisticsCase(
        { tokens: 130, head_dim: 16, heads: 4, kv_heads: 2, window: 70, soft_cap },
        SLOPES,
      ),
    ] as const
  ),
);
