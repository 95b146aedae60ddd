/** Tests how requests of different lengths are put into buckets of similar length and padded. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { bucketByLength, padRight } from "../../src/evaluation/encode_request.ts";

describe("bucketByLength", () => {
  it("returns each index once, longest request first, in buckets whose padding is at most a quarter", () => {
    const lengths = Array.from({ length: 200 }, (_, i) => 1 + (i * 37) % 113);
    const buckets = bucketByLength(lengths);
    assert.deepEqual(buckets.flat().toSorted((a, b) => a - b), [...lengths.keys()]);
    for (const bucket of buckets) {
      assert.equal(lengths[bucket[0]], Math.max(...bucket.map((i) => lengths[i])));
      assert.ok(bucket.every((i) => lengths[i] >= 0.75 * lengths[bucket[0]]));
    }
    assert.ok(buckets.length < 20, `${buckets.length} buckets`);
  });

  it("limits the tokens of a bucket, padding included", () => {
    assert.deepEqual(bucketByLength([5, 4, 4, 4, 9], 10), [[4], [0, 1], [2, 3]]);
    assert.deepEqual(bucketByLength([5, 5, 3], 4), [[0], [1], [2]]);
  });

  it("returns no buckets for no requests", () => assert.deepEqual(bucketByLength([]), []));

  it("does not reorder requests of equal length", () =>
    assert.deepEqual(bucketByLength([5, 5, 2, 5]), [[0, 1, 3], [2]]));
});

describe("padRight", () => {
  it("appends zeros up to the given length, and copies tokens that already have that length", () => {
    assert.deepEqual([...padRight(Uint32Array.of(7, 8), 4)], [7, 8, 0, 0]);
    assert.deepEqual([...padRight(Uint32Array.of(7, 8), 2)], [7, 8]);
  });
});
