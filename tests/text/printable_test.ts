/** Tests printable(), which escapes the characters that a terminal would obey. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { printable } from "../../src/text/printable.ts";

describe("printable", () => {
  it("escapes control characters and changes of direction, and keeps all other text", () => {
    assert.equal(
      printable("a\u001b[2J\r\u0000\u007f\u009b\u202eb"),
      "a\\u001b[2J\\u000d\\u0000\\u007f\\u009b\\u202eb",
    );
    for (const text of ["", "layer.0.q_proj\t→ 50 %\nΣ x·xᵀ 🦕", "│ a │"]) {
      assert.equal(printable(text), text);
    }
  });

  it("does not change the value of a JSON text", () => {
    const value = { name: '\u001b\u007f\u009b\u202e"\\' };
    assert.deepEqual(JSON.parse(printable(JSON.stringify(value))), value);
  });
});
