/** Tests cutText(), which shortens what an answer quotes of a request. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { cutText } from "../../src/text/cut_text.ts";

describe("cutText()", () => {
  it("returns a text within the limit unchanged", () => {
    assert.equal(cutText("a".repeat(200)), "a".repeat(200));
    assert.equal(cutText(""), "");
  });

  it("cuts a longer text to the limit, and marks the cut", () => {
    assert.equal(cutText("a".repeat(201)), "a".repeat(199) + "…");
    assert.equal(cutText("abcdef", 4), "abc…");
  });

  it("never separates the two halves of a character", () => {
    assert.equal(cutText("ab😀def", 4), "ab…");
    assert.ok(cutText("😀".repeat(200)).isWellFormed());
  });
});
