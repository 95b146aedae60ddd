/** Patterns as text, and how many entries an n:m pattern prunes. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { fitsTwoOfFour, formatPattern, parsePattern, prunedPerRow } from "../../src/sparsity/pattern.ts";

describe("parsePattern", () => {
  it("reads what formatPattern writes", () => {
    for (const text of ["unstructured", "2:4", "4:8", "1:4", "1:2", "127:128"]) {
      assert.equal(formatPattern(parsePattern(text)), text);
    }
  });

  it("refuses what is not a pattern, naming it", () => {
    for (const text of ["", "2:4:8", "0:4", "4:4", "5:4", "1:129", "2:4 ", "-1:4", "2.0:4", "structured"]) {
      assert.throws(() => parsePattern(text), { name: "RangeError", message: new RegExp(`"${text}"`) });
    }
  });
});

describe("fitsTwoOfFour", () => {
  it("takes groups that divide four and keep at most half of it", () => {
    const fitting = ["unstructured", "2:4", "1:4", "1:2", "3:4", "4:8", "1:3"].filter((text) =>
      fitsTwoOfFour(parsePattern(text))
    );
    assert.deepEqual(fitting, ["2:4", "1:4", "1:2"]);
  });
});

describe("prunedPerRow", () => {
  it("counts whole groups and keeps ceil(n·g/m) of a last partial group of g", () => {
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
