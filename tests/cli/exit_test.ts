/** Tests the exit code and the printed line for each kind of error that a command may throw. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { CommanderError } from "commander";
import { exitCode, failureLine, Interrupted, UsageError } from "../../src/cli/exit.ts";

describe("exitCode() and failureLine()", () => {
  const cases: [what: string, thrown: unknown, code: number, line: string | undefined][] = [
    ["an error", new Error("model: is missing"), 1, "error: model: is missing"],
    ["an error message of several lines", new Error("first\n  second\n"), 1, "error: first; second"],
    ["an error without a message", new RangeError(), 1, "error: RangeError"],
    ["a thrown value that is not an Error", "text", 1, "error: text"],
    ["wrong usage", new UsageError("option --x 1: rule"), 2, "error: option --x 1: rule"],
    [
      "an error that commander has already printed",
      new CommanderError(1, "commander.unknownOption", "printed"),
      2,
      undefined,
    ],
    ["a request for help", new CommanderError(0, "commander.helpDisplayed", "printed"), 0, undefined],
    ["Ctrl-C", new Interrupted("SIGINT"), 130, "error: stopped by SIGINT"],
    ["SIGTERM", new Interrupted("SIGTERM"), 143, "error: stopped by SIGTERM"],
    [
      "an error followed by an error while cleaning up",
      new SuppressedError(new Error("second"), new UsageError("first")),
      2,
      "error: first",
    ],
  ];
  for (const [what, thrown, code, line] of cases) {
    it(`report ${what}`, () => {
      assert.deepEqual([exitCode(thrown), failureLine(thrown)], [code, line]);
    });
  }
});
