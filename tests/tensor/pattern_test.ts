/** Tests the text form of patterns, the bits of masks, and the numbers of entries that patterns and budgets prune. */

import assert from "node:assert/strict";
import {
  countBits,
  formatPattern,
  parsePattern,
  prunedPerRow,
  PruningBudget,
  removedColumns,
  wordsPerRow,
} from "../../src/tensor/pattern.ts";
import { uniform } from "../../scripts/fixtures/random.ts";
import { describe, it } from "@std/testing/bdd";

describe("parsePattern", () => {
  it("parses the text that formatPattern produces", () => {
    for (const text of ["unstructured", "columns", "2:4", "4:8", "1:4", "1:2", "127:128"]) {
      assert.equal(formatPattern(parsePattern(text)), text);
    }
    assert.deepEqual(parsePattern("columns", 3), { kind: "columns", group: 3 });
  });

  it("refuses a text that is not a pattern, and quotes it in the message", () => {
    for (const text of ["", "2:4:8", "0:4", "4:4", "5:4", "1:129", "2:4 ", "-1:4", "2.0:4", "structured"]) {
      assert.throws(() => parsePattern(text), { name: "RangeError", message: new RegExp(`"${text}"`) });
    }
  });
});

it("removedColumns() removes the nearest number of whole sets, but never all", () => {
  const removed = (group: number, sparsity: number, cols: number) =>
    removedColumns({ kind: "columns", group }, sparsity, cols);
  assert.deepEqual([removed(1, 0.25, 10), removed(4, 0.3, 40), removed(5, 0.99, 10), removed(8, 0.9, 8)], [
    3,
    12,
    5,
    0,
  ]);
  for (let kept = 1; kept < 512; kept++) assert.equal(removed(1, 1 - kept / 512, 512), 512 - kept);
});

describe("prunedPerRow", () => {
  it("keeps n of every complete group of m, and ceil(n·g/m) of an incomplete last group of g", () => {
    for (const [keep, group] of [[2, 4], [4, 8], [1, 4], [3, 7]]) {
      for (let cols = 1; cols <= 3 * group; cols++) {
        let pruned = 0;
        for (let c = 0; c < cols; c += group) {
          const size = Math.min(group, cols - c);
          pruned += size - Math.ceil((keep * size) / group);
        }
        assert.equal(prunedPerRow({ kind: "n:m", keep, group }, cols), pruned, `${keep}:${group} of ${cols}`);
      }
    }
  });
});

describe("countBits() and wordsPerRow()", () => {
  it("countBits() counts the ones in random words and in extreme words", () => {
    const next = uniform(1);
    const words = Uint32Array.from({ length: 999 }, () => Math.floor(next() * 2 ** 32));
    words.set([0, 1, 0x80000000, 0xffffffff]);
    const expected = Array.from(words, (word) => word.toString(2).replaceAll("0", "").length)
      .reduce((a, b) => a + b, 0);
    assert.equal(countBits(words), expected);
    assert.equal(countBits(new Uint32Array(0)), 0);
  });

  it("wordsPerRow() rounds the length of a row up to whole words", () => {
    assert.deepEqual([1, 31, 32, 33, 49152].map(wordsPerRow), [1, 1, 1, 2, 1536]);
  });
});

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
