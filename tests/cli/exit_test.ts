/** Tests the kind, the exit code and the printed line for each kind of error that a command may throw. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { CommanderError } from "commander";
import { DeviceLostError, OutOfDeviceMemoryError } from "../../src/device/backend.ts";
import { CheckFailedError, Interrupted, RefusedError, UsageError } from "../../src/cli/errors.ts";
import { failureOf } from "../../src/cli/terminal/exit.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../../src/client/errors.ts";
import { JobFailedError } from "../../src/client/jobs/prune_by_job.ts";
import { DamagedFileError, FileError, InUseError, ModelError } from "../../src/base/files/file_error.ts";
import { HubUnreachable } from "../../src/model/hub/hub_access.ts";
import { OtherRunError } from "../../src/prune/run/fingerprint.ts";

function jobFailure(...codes: readonly string[]): JobFailedError {
  return new JobFailedError("5", codes.map((code) => ({ name: "fc1", code, detail: "x" })));
}

/** Errors by the exit code that they must lead to. */
const ERRORS: Readonly<Record<string, readonly unknown[]>> = {
  "2 usage": [
    new UsageError("x"),
    new OtherRunError("x"),
    new CommanderError(1, "commander.unknownOption", "error: x"),
  ],
  "3 refused": [
    new ModelError("x"),
    new RefusedError("x"),
    new CheckFailedError("x"),
    new OutOfDeviceMemoryError("x"),
    new FileError("model", "EACCES", "x"),
    new MalformedAnswerError("x"),
    new PareError(401, { code: "unauthorized" }),
    new PareError(413, { code: "too_large" }),
    new PareError(422, { code: "not_positive_definite" }),
    new PareError(500, { code: "cancelled" as never }),
    new PareError(500, { detail: "the error page of a proxy" }),
    new ConnectionError("x", { isTransient: false }),
    jobFailure("busy", "non_finite"),
    jobFailure("cancelled"),
  ],
  "4 try_again": [
    new ConnectionError("x"),
    new HubUnreachable("x"),
    new DamagedFileError("x"),
    new InUseError("x"),
    new DeviceLostError("x"),
    new FileError("out", "ENOSPC", "x"),
    new PareError(408, { code: "too_slow" as never }),
    new PareError(429, { code: "busy" }),
    new PareError(503, { code: "device_lost" }),
    jobFailure("no_device", "busy"),
  ],
  "1 defect": [new TypeError("x"), new RangeError("x"), new PareError(500, { code: "internal" }), "text"],
  "130 interrupted": [new Interrupted("SIGINT")],
  "143 interrupted": [new Interrupted("SIGTERM"), new Interrupted("SIGUSR1"), new Interrupted("SIGUSR2")],
};

describe("failureOf()", () => {
  for (const [expected, errors] of Object.entries(ERRORS)) {
    for (const error of errors) {
      const name = error instanceof Error ? `${error.name} (${error.message})` : `the thrown ${typeof error}`;
      it(`maps ${name} to ${expected}`, () => {
        const { exitCode, kind } = failureOf(error);
        assert.equal(`${exitCode} ${kind}`, expected);
      });
    }
  }

  it("reports the error that stopped the command, and not the error of the cleanup after it", () => {
    const failure = failureOf(new SuppressedError(new Error("second"), new UsageError("first")));
    assert.deepEqual([failure.kind, failure.message], ["usage", "first"]);
  });

  it("writes messages in one line, and names errors without a message by their class", () => {
    assert.equal(failureOf(new Error("first\n  second\n")).message, "first; second");
    assert.equal(failureOf(new RangeError()).message, "RangeError");
  });
});
