/** Tests the message for an operation that the permissions of the process do not include. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { failureOf } from "../../src/cli/exit.ts";
import { runPareWithFlags } from "./run_pare.ts";

describe("the failure of an operation that is not permitted", () => {
  it("names what was refused, and the option that permits it", () => {
    const refused = (access: string) => {
      const [kind] = access.split(" ");
      const error = new Deno.errors.NotCapable(`Requires ${access}, run again with the --allow-${kind} flag`);
      const { exitCode, message } = failureOf(error);
      return [exitCode, message];
    };
    const reason = "because the command line does not name it";
    assert.deepEqual(refused('read access to "/a b/c"'), [
      2,
      `reading /a b/c is not permitted, ${reason}; add --allow-read /a b/c to permit it`,
    ]);
    assert.deepEqual(refused('write access to "out"'), [
      2,
      `writing out is not permitted, ${reason}; add --allow-write out to permit it`,
    ]);
    assert.deepEqual(refused('net access to "cdn.example:443"'), [
      2,
      `connecting to cdn.example:443 is not permitted, ${reason}; add --allow-net cdn.example:443 to permit it`,
    ]);
  });

  it("names a folder of the operating system, which no option permits", () => {
    const error = new Deno.errors.NotCapable(
      'Requires all access to "/proc/x", run again with the --allow-all flag',
    );
    const { exitCode, message } = failureOf(error);
    assert.deepEqual([exitCode, message], [
      2,
      "/proc/x: lies in a folder of the operating system, which a command may not use",
    ]);
  });

  it("is a defect of Pare if no option permits the operation", () => {
    const error = new Deno.errors.NotCapable(
      'Requires run access to "sh", run again with the --allow-run flag',
    );
    assert.equal(failureOf(error).exitCode, 1);
  });

  it("ends the command without a question of Deno", async () => {
    const { code, stderr } = await runPareWithFlags(
      ["--no-prompt", "--allow-env"],
      "report",
      "/nowhere/run",
    );
    assert.deepEqual([code, stderr], [
      2,
      "error: reading /nowhere/run is not permitted, because the command line does not name it; " +
      "add --allow-read /nowhere/run to permit it\n",
    ]);
  });
});
