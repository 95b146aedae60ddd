/** Tests the functions that count the ones in a mask and the words in a row of a mask. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { countBits, wordsPerRow } from "../../src/tensor/pattern.ts";
import { uniform } from "../support/random.ts";

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
