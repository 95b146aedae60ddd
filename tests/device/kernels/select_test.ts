/** Tests of the scans of the radix select. `choose_test.ts` compares all its kernels together with sorting. */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import {
  RADIX_BINS,
  rankTies,
  rankTiesCase,
  selectDigit,
} from "../../../src/device/kernels/selection/select.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadU32, upload } from "../../support/device.ts";
import { testKernel } from "../../support/kernel_cases.ts";

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

testKernel(
  rankTies,
  { tolerance: 0 },
  ...[1, 3, 7, 64, 65, 1000].map((rows) =>
    [
      `chooses the first ties of ${rows} rows`,
      ...[1, 2, 4].map((share) => rankTiesCase(rows, rows * share)),
    ] as const
  ),
);
