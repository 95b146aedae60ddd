/** Tests the functions that shorten what an answer quotes of a request. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { firstItems, joinedItems, shortened } from "../../src/base/texts.ts";

describe("shortened()", () => {
  it("returns a text of up to 200 characters unchanged, and marks where a longer one is cut", () => {
    assert.equal(shortened("a".repeat(200)), "a".repeat(200));
    assert.equal(shortened("a".repeat(201)), "a".repeat(200) + "…");
  });

  it("leaves no half of a surrogate pair where it cuts", () => {
    assert.ok(shortened("a" + "😀".repeat(200)).isWellFormed());
  });
});

describe("firstItems() and joinedItems()", () => {
  it("take at most 20 items, and joinedItems() says how many it leaves out", () => {
    const items = Array.from({ length: 30 }, (_, index) => index);
    assert.equal(firstItems(items).length, 20);
    assert.match(joinedItems(items), /^0, 1, .*19, … and 10 more$/);
    assert.equal(joinedItems([1, 2]), "1, 2");
  });
});
