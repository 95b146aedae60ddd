/** Graphics drivers print messages to standard error. The tests of commands remove these messages before they compare the output. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { withoutLines } from "../support/driver_messages.ts";

const MESSAGES = new Set(["error: XDG_RUNTIME_DIR is invalid or not set in the environment."]);

describe("withoutLines()", () => {
  it("removes driver messages before, between and after the lines of a command", () => {
    const [message] = MESSAGES;
    const printed = `${message}\n${message}\npruning 0/24\n${message}\nerror: no such folder\n${message}\n`;
    assert.equal(withoutLines(printed, MESSAGES), "pruning 0/24\nerror: no such folder\n");
  });

  it("keeps lines that only resemble a message", () => {
    for (const printed of ["error: XDG_RUNTIME_DIR is invalid\n", "", "\n", "no line end"]) {
      assert.equal(withoutLines(printed, MESSAGES), printed);
    }
  });
});
