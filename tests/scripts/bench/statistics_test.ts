/** Tests order statistics against values that were counted by hand. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { median, percentile } from "../../../scripts/bench/measure/statistics.ts";

describe("median", () => {
  it("returns the middle value, or the mean of the two middle values", () => {
    assert.equal(median([9, 1, 5]), 5);
    assert.equal(median([9, 1, 5, 2]), 3.5);
    assert.ok(Number.isNaN(median([])));
  });
});

describe("percentile", () => {
  it("returns the value of the nearest rank", () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i); // 200 … 1
    assert.equal(percentile(values, 50), 100);
    assert.equal(percentile(values, 99), 198);
    assert.equal(percentile(values, 100), 200);
    assert.equal(percentile(values, 0), 1);
  });

  it("returns the only value of a list of one, and NaN for an empty list", () => {
    assert.equal(percentile([7], 99), 7);
    assert.ok(Number.isNaN(percentile([], 50)));
  });
});
