/** Tests which blocks are dropped. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { mostSimilarBlocks, sumOfCosines } from "../../../src/prune/shrink/block_similarity.ts";

it("sumOfCosines() adds the cosines of the tokens, and counts a vector of zeros as 0", () => {
  const a = Float32Array.of(1, 0, 2, 2, 0, 0, 3, 4), b = Float32Array.of(5, 0, -1, -1, 1, 1, 4, 3);
  assert.ok(Math.abs(sumOfCosines(a, b, 2) - (1 - 1 + 0 + 24 / 25)) < 1e-12);
});

it("mostSimilarBlocks() returns the blocks with the largest similarities in ascending order, of equal ones the last", () => {
  assert.deepEqual(mostSimilarBlocks([0.5, 0.9, 0.7, 0.9], 1), [3]);
  assert.deepEqual(mostSimilarBlocks([0.5, 0.9, 0.7, 0.9], 3), [1, 2, 3]);
  assert.deepEqual(mostSimilarBlocks([0.5, 0.9], 0), []);
});
