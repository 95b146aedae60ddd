/** Tests that texts are printed without control characters, and that long ones are quoted in part. */

import assert from "node:assert/strict";
import { firstItems, joinedItems, printableLine, printableText, shortened } from "../../src/base/texts.ts";
import { describe, it } from "@std/testing/bdd";

describe("printableLine()", () => {
  it("escapes control characters, line ends, directions and halves of surrogate pairs", () => {
    assert.equal(printableLine("a\x1b[2Jb\r\n\t\x7f\x9b"), "a\\u001b[2Jb\\u000d\\u000a\\u0009\\u007f\\u009b");
    assert.equal(printableLine("\u202egnp.exe\u2028\ud83d"), "\\u202egnp.exe\\u2028\\ud83d");
  });

  it("does not change other texts, and keeps JSON valid and equal", () => {
    assert.equal(printableLine("Größe ≤ 2⁶⁴ 😀 \\u001b"), "Größe ≤ 2⁶⁴ 😀 \\u001b");
    const value = { name: "\x1b[31m\x9b\u202e\n" };
    assert.deepEqual(JSON.parse(printableLine(JSON.stringify(value))), value);
  });
});

describe("printableText()", () => {
  it("keeps line ends and tabs", () => assert.equal(printableText("a\x07\n\tb"), "a\\u0007\n\tb"));
});

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
