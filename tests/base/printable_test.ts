/** Tests that texts are printed without control characters. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { printableLine, printableText } from "../../src/base/texts.ts";

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
