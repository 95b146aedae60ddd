/** Tests how windows of different lengths are grouped and padded for batches. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { groupByLength, padRight } from "../../src/evaluation/window_groups.ts";

describe("groupByLength", () => {
  it("uses each index once, longest first, and pads windows by at most a quarter", () => {
    const lengths = Array.from({ length: 200 }, (_, i) => 1 + (i * 37) % 113);
    const groups = groupByLength(lengths);
    assert.deepEqual(groups.flat().toSorted((a, b) => a - b), [...lengths.keys()]);
    for (const group of groups) {
      assert.equal(lengths[group[0]], Math.max(...group.map((i) => lengths[i])));
      assert.ok(group.every((i) => lengths[i] >= 0.75 * lengths[group[0]]));
    }
    assert.ok(groups.length < 20, `${groups.length} groups`);
  });

  it("limits the tokens of a group, padding included", () => {
    assert.deepEqual(groupByLength([5, 4, 4, 4, 9], 10), [[4], [0, 1], [2, 3]]);
    assert.deepEqual(groupByLength([5, 5, 3], 4), [[0], [1], [2]]);
  });

  it("returns no groups for no windows", () => assert.deepEqual(groupByLength([]), []));

  it("keeps windows of equal length in order", () =>
    assert.deepEqual(groupByLength([5, 5, 2, 5]), [[0, 1, 3], [2]]));
});

describe("padRight", () => {
  it("appends zeros up to the given length, or copies", () => {
    assert.deepEqual([...padRight(Uint32Array.of(7, 8), 4)], [7, 8, 0, 0]);
    assert.deepEqual([...padRight(Uint32Array.of(7, 8), 2)], [7, 8]);
  });
});
