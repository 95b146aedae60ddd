/**
 * Compares ColumnCounts, which counts the set bits of each column for 32 columns at a time, with a count of
 * one bit at a time. Some sizes exceed 255 rows, after which the 8-bit counters of ColumnCounts are added to
 * larger ones.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ColumnCounts } from "../../../src/layer/sinks/mask_sink.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

describe("ColumnCounts", () => {
  it("counts the set bits of each column", () => {
    for (const [rows, cols] of [[1, 1], [3, 31], [254, 32], [255, 33], [256, 64], [1000, 70]]) {
      const next = uniform(rows + cols), words = Math.ceil(cols / 32);
      const counts = new ColumnCounts(cols), expected = new Uint32Array(cols);
      for (let r = 0; r < rows; r++) {
        const row = new Uint32Array(words);
        for (let c = 0; c < cols; c++) {
          // The last column is always set, so that its counter reaches the largest value.
          if (c < cols - 1 && next() < 0.5) continue;
          row[c >>> 5] |= 1 << (c & 31);
          expected[c]++;
        }
        counts.add(row);
      }
      assert.deepEqual(counts.counts(), expected);
    }
  });
});
