/**
 * Tests of the radix select, which selects the k smallest scores. First each kernel is tested alone, and then
 * all kernels together in comparison with sorting, especially for tied scores.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import {
  countTies,
  countTiesCase,
  keyHistogram,
  keyHistogramCase,
  RADIX_BINS,
  RADIX_LEVELS,
  rankTies,
  rankTiesCase,
  scoreKeys,
  scoreKeysCase,
  selectDigit,
} from "../../../src/device/kernels/selection/select.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadU32, upload } from "../../support/device.ts";
import { chosenEntries, testSelection } from "../../support/selection.ts";
import { testKernel } from "../../support/kernel_cases.ts";

testKernel(
  scoreKeys,
  { tolerance: 0 },
  ...[[1, 1, 0], [7, 31, 5], [33, 128, 128], [65, 129, 31], [3, 40001, 0]].flatMap(([rows, cols, first]) =>
    [0, 1].map((has_forced) =>
      [
        `computes the keys of ${rows}×${cols} entries from column ${first}, ${
          has_forced ? "some" : "none"
        } of them forced`,
        scoreKeysCase(rows, cols, first, has_forced),
      ] as const
    )
  ),
  ["computes the key of −0 as that of 0", {
    params: { rows: 1, cols: 2, ld: 2, first: 0, words: 1, has_forced: 0 },
    buffers: () => ({
      work: Float32Array.of(-0, 0),
      scale: Float32Array.of(1, 1),
      forced: new Uint32Array(1),
      keys: new Uint32Array(2),
    }),
  }],
);

testKernel(
  keyHistogram,
  { tolerance: 0 },
  ...[1, 7, 255, 4097, 200_003].map((count) =>
    [
      `adds ${count} keys to the histogram at every level`,
      ...[0, 1, 2, 3].map((level) => keyHistogramCase(count, level)),
    ] as const
  ),
);

eachBackend("select_digit", (backend) => {
  async function digit(counts: number[], [threshold, remaining]: number[], level: number, k: number) {
    const histogram = upload(backend(), Uint32Array.from({ length: RADIX_BINS }, (_, d) => counts[d] ?? 0));
    const selection = upload(backend(), Uint32Array.of(threshold, remaining));
    backend().dispatch(selectDigit, { histogram, selection }, { level, k });
    const cleared = await downloadU32(backend(), histogram);
    strictEqual(cleared.findIndex((count) => count !== 0), -1, "the histogram is cleared");
    const result = await downloadU32(backend(), selection);
    histogram.destroy();
    selection.destroy();
    return [...result];
  }

  it("starts with k entries at level 0, whatever `selection` contains", async () => {
    deepStrictEqual(await digit([3, 0, 4, 5], [9, 9], 0, 7), [0x02000000, 4]);
    deepStrictEqual(await digit([3, 0, 4, 5], [9, 9], 0, 8), [0x03000000, 1]);
    deepStrictEqual(await digit(Array(256).fill(1), [9, 9], 0, 256), [0xff000000, 1]);
  });

  it("stores the digit below the digits that are already fixed", async () => {
    deepStrictEqual(await digit([0, 2, 2], [0x7f000000, 3], 1, 1000), [0x7f020000, 1]);
    deepStrictEqual(await digit([5], [0x7f012300, 5], 3, 1000), [0x7f012300, 5]);
  });

  it("chooses nothing for k = 0", async () => {
    deepStrictEqual(await digit([3, 4], [9, 9], 0, 0), [0, 0]);
    deepStrictEqual(await digit([3, 4], [0, 0], 2, 0), [0, 0]);
  });
});

const ROWS = [[1, 1], [7, 129], [64, 33], [65, 128], [1000, 3], [3, 70001]];
testKernel(
  countTies,
  { tolerance: 0 },
  ...ROWS.map(([rows, cols]) =>
    [
      `counts the ties in ${rows} rows of ${cols} keys`,
      ...[0, 1].map((accumulate) => countTiesCase(rows, cols, accumulate)),
    ] as const
  ),
);
testKernel(
  rankTies,
  { tolerance: 0 },
  ...ROWS.map(([rows]) =>
    [
      `chooses the first ties of ${rows} rows`,
      ...[1, 2, 4].map((share) => rankTiesCase(rows, rows * share)),
    ] as const
  ),
);

testSelection(
  "the selection",
  async (backend, { w: work, scale, forced, keys }, { rows, cols, ...mask }, k) => {
    // The contents from an earlier selection must not matter.
    const selection = upload(backend, new Uint32Array(2 + rows).fill(0xdeadbeef));
    const histogram = upload(backend, new Uint32Array(RADIX_BINS));
    backend.dispatch(scoreKeys, { work, scale, forced, keys }, { rows, cols, ld: cols, ...mask });
    for (let level = 0; level < RADIX_LEVELS; level++) {
      backend.dispatch(keyHistogram, { keys, selection, histogram }, { count: rows * cols, level });
      backend.dispatch(selectDigit, { histogram, selection }, { level, k });
    }
    backend.dispatch(countTies, { keys, selection }, { rows, cols, accumulate: 0 });
    backend.dispatch(rankTies, { selection }, { rows });
    const chosen = chosenEntries(
      await downloadU32(backend, keys),
      await downloadU32(backend, selection),
      cols,
    );
    for (const buffer of [selection, histogram]) buffer.destroy();
    return chosen;
  },
);
