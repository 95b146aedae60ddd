/** Tests the text form of sparsity patterns, and the number of entries that an n:m pattern prunes. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { formatPattern, parsePattern, prunedPerRow } from "../../src/tensor/pattern.ts";

describe("parsePattern", () => {
  it("parses the text that formatPattern produces", () => {
    for (const text of ["unstructured", "2:4", "4:8", "1:4", "1:2", "127:128"]) {
      assert.equal(formatPattern(parsePattern(text)), text);
    }
  });

  it("refuses a text that is not a pattern, and quotes it in the message", () => {
    for (const text of ["", "2:4:8", "0:4", "4:4", "5:4", "1:129", "2:4 ", "-1:4", "2.0:4", "structured"]) {
      assert.throws(() => parsePattern(text), { name: "RangeError", message: new RegExp(`"${text}"`) });
    }
  });
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
