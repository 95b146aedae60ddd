/** Tests that a layer which is pruned block by block loses exactly the requested number of entries. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { PruningBudget } from "../../src/tensor/pattern.ts";

/**
 * Splits `total` entries into blocks of `block` entries, with `forced[i]` forced entries in block i. Returns
 * the number of entries to prune in each block.
 */
function countsByBlock(
  sparsity: number,
  total: number,
  block: number,
  forced: readonly number[] = [],
): number[] {
  const budget = new PruningBudget(sparsity);
  const counts: number[] = [];
  for (let seen = 0; seen < total; seen += block) {
    counts.push(budget.take(Math.min(block, total - seen), forced[counts.length] ?? 0));
  }
  assert.equal(budget.pruned, counts.reduce((sum, count) => sum + count, 0));
  return counts;
}

describe("PruningBudget", () => {
  it("prunes round(s·entries) of the layer for every block size", () => {
    for (const sparsity of [0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9, 0.999]) {
      for (const total of [1, 7, 35, 1000, 16383]) {
        for (const block of [1, 3, 128, 20000]) {
          const sum = countsByBlock(sparsity, total, block).reduce((a, b) => a + b, 0);
          assert.equal(sum, Math.round(sparsity * total), `${sparsity} of ${total} by ${block}`);
        }
      }
    }
  });

  it("carries the rounding remainder of a block to the next block", () => {
    assert.deepEqual(countsByBlock(0.5, 9, 3), [2, 1, 2]);
  });

  it("is exact for the largest layer of a model with 175 billion parameters", () => {
    const entries = 49152 * 12288;
    const sum = countsByBlock(0.7, entries, 49152 * 128).reduce((a, b) => a + b, 0);
    assert.equal(sum, Math.round(0.7 * entries));
  });

  it("prunes every forced entry, and prunes fewer entries in later blocks if a block exceeded its share", () => {
    assert.deepEqual(countsByBlock(0.5, 40, 10, [9, 0, 0, 0]), [9, 1, 5, 5]);
    assert.deepEqual(countsByBlock(0.1, 20, 10, [9, 9]), [9, 9]);
  });
});
