/** What a thrown error becomes: an exit code and one line. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { CommanderError } from "commander";
import { exitCode, failureLine, Interrupted, UsageError } from "../../src/cli/exit.ts";

describe("exitCode and failureLine", () => {
  const cases: [what: string, thrown: unknown, code: number, line: string | undefined][] = [
    ["a failure", new Error("model: is missing"), 1, "error: model: is missing"],
    ["a failure of several lines", new Error("first\n  second\n"), 1, "error: first; second"],
    ["an error without a message", new RangeError(), 1, "error: RangeError"],
    ["what is no error", "text", 1, "error: text"],
    ["wrong usage", new UsageError("option --x 1: rule"), 2, "error: option --x 1: rule"],
    ["what commander has told", new CommanderError(1, "commander.unknownOption", "told"), 2, undefined],
    ["help", new CommanderError(0, "commander.helpDisplayed", "told"), 0, undefined],
    ["Ctrl-C", new Interrupted("SIGINT"), 130, "error: stopped by SIGINT"],
    ["SIGTERM", new Interrupted("SIGTERM"), 143, "error: stopped by SIGTERM"],
    [
      "a failure whose clean-up failed too",
      new SuppressedError(new Error("second"), new UsageError("first")),
      2,
      "error: first",
    ],
  ];
  for (const [what, thrown, code, line] of cases) {
    it(`tell ${what}`, () => {
      assert.deepEqual([exitCode(thrown), failureLine(thrown)], [code, line]);
    });
  }
});
