/**
 * Tests of prune_block and prune_block_n_m in comparison with naive float64 code: the pruned weights Q, the change Δ, the
 * mask and the error sums, and that nothing else is written. Each block of columns is at an odd offset in its buffers.
 */

import { ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import {
  pruneBlock,
  pruneBlockCase,
  pruneBlockNM,
  pruneBlockNMCase,
} from "../../../src/device/kernels/prune_block.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { setBit } from "../../reference/kernel_reference.ts";
import { eachTiling } from "../../support/backends.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [1, 7], [7, 31], [8, 32], [9, 33], [65, 127], [33, 128], [130, 129], [17, 172], [
  70,
  256,
]];
/** Up to 256 columns depend on each other, so rounding errors accumulate. */
const ACCURACY = { tolerance: 1e-5, suite: eachTiling };

/** A case in which every row prunes `ties` of its ties, or the half of them for "half". */
function selected(
  [rows, size]: readonly number[],
  { threshold = 0x80000000, ties, first }: {
    readonly threshold?: number;
    readonly ties: number | "half";
    readonly first?: number;
  },
) {
  const { buffers, ...block } = pruneBlockCase(size, false, { rows, first });
  return {
    ...block,
    buffers: () => {
      const { keys, selection, ...others } = buffers();
      const tiesOf = (r: number) =>
        keys.subarray(r * size, (r + 1) * size).filter((key) => key === threshold).length;
      const counts = selection.map((_, i) => ties === "half" ? tiesOf(i - 2) >> 1 : ties);
      counts[0] = threshold;
      return { ...others, keys, selection: counts };
    },
  };
}

/** Returns the operands with U = I. */
function identity<T extends { readonly u: Float32Array }>(
  operands: T,
  { size, u_offset, ldu }: Readonly<Record<"size" | "u_offset" | "ldu", number>>,
): T {
  for (let i = 0; i < size * size; i++) {
    const row = Math.floor(i / size), column = i % size;
    operands.u[u_offset + row * ldu + column] = row === column ? 1 : 0;
  }
  return operands;
}

testKernel(
  pruneBlock,
  ACCURACY,
  ...SHAPES.map((shape) =>
    [
      `prunes entries with keys below the threshold and the first ties of each row, for ${
        shape.join("×")
      } entries`,
      ...([0, "half", shape[1]] as const).map((ties) => selected(shape, { ties })),
    ] as const
  ),
  ...[0, 1, 31, 32, 96].map((first) =>
    [
      `does not change other bits of the mask if the block starts at column ${first}`,
      selected([10, 70], { threshold: 5, ties: 0, first }),
    ] as const
  ),
  [
    "prunes nothing at threshold 0, and everything if the largest keys are ties",
    selected([11, 45], { threshold: 0, ties: 0 }),
    selected([11, 45], { threshold: 0xffffffff, ties: 45 }),
  ],
);

eachTiling("prune_block with U = I", (backend) => {
  it("sets the pruned weights to 0, and does not update the others", async () => {
    const size = 60, { params, buffers } = selected([20, size], { threshold: 6, ties: 0 });
    const before = identity(buffers(), params), { row0, rows, ldwork, w_offset, ldw } = params;
    const { q } = await dispatchCase(backend(), pruneBlock as unknown as Kernel, before, params);
    for (let i = 0; i < rows * size; i++) {
      const row = Math.floor(i / size), column = i % size;
      const expected = before.keys[row0 * size + i] < 6 ? 0 : before.work[(row0 + row) * ldwork + column];
      ok(Object.is(q[w_offset + row * ldw + column], expected), `entry (${row}, ${column})`);
    }
  });
});

/** A case with forced entries if `isForced` is given. With `weightAt`, it has these weights, and U = I. */
function grouped(
  [rows, size]: readonly number[],
  [keep, group]: readonly number[],
  { isForced, weightAt }: {
    readonly isForced?: (index: number) => boolean;
    readonly weightAt?: (index: number) => number;
  } = {},
) {
  const { buffers, ...block } = pruneBlockNMCase(size, false, keep, group, isForced ? 1 : 0, { rows });
  const { row0, first, words } = block.params;
  return {
    ...block,
    buffers: () => {
      const { work, forced, ...others } = buffers();
      for (let i = 0; isForced && i < rows * size; i++) {
        setBit(forced, words, row0 + Math.floor(i / size), first + i % size, isForced(i));
      }
      if (!weightAt) return { ...others, work, forced };
      return identity({ ...others, work: work.map((_, i) => weightAt(i)), forced }, block.params);
    },
  };
}

testKernel(
  pruneBlockNM,
  ACCURACY,
  ...[[2, 4], [4, 8], [1, 4], [1, 2], [3, 5], [2, 3], [5, 16], [0, 4], [4, 4], [40, 100]].map((groups) =>
    [
      `keeps ${groups.join(" of every ")} entries, and a proportional number in a shorter last group`,
      ...SHAPES.map((shape) => grouped(shape, groups)),
    ] as const
  ),
  [
    "prunes entries in lower columns first if their scores are equal",
    grouped([9, 44], [2, 4], { weightAt: (i) => i % 3 ? 1 : -1 }),
    grouped([9, 44], [3, 8], { weightAt: () => 0 }),
  ],
  ...([
    ["they are fewer than the quota of a group", 7],
    ["they exceed the quota of a group", 2],
    ["every entry is forced", 1],
  ] as const).map(([condition, period]) =>
    [
      `prunes all forced entries if ${condition}`,
      ...[[3, 4], [6, 10]].map((groups) => grouped([19, 61], groups, { isForced: (i) => i % period === 0 })),
    ] as const
  ),
);
