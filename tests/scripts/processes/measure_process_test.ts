/** Tests `measureProcess()`, which runs a program and measures its time and its memory, including its child processes. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { measureProcess } from "../../../scripts/processes/measure_process.ts";

const MIB = 2 ** 20;
/** The code of a program that holds 64 MiB of memory for 400 ms. */
const HOLD = `const held = new Uint8Array(${
  64 * MIB
}).fill(1); setTimeout(() => console.log(held.length), 400)`;

function evaluate(code: string) {
  const env = { NO_COLOR: "1", HOME: Deno.env.get("HOME") ?? "/" };
  return measureProcess({ command: Deno.execPath(), args: ["eval", code], env });
}

describe("measureProcess", () => {
  it("returns the output and the time of a program", async () => {
    const { stdout, seconds } = await evaluate("setTimeout(() => console.log('done'), 200)");
    assert.equal(stdout, "done\n");
    assert.ok(seconds >= 0.2 && seconds < 60, `${seconds} s`);
  });

  it("adds the memory of a child process", { skip: Deno.build.os !== "linux" && "needs /proc" }, async () => {
    const child = `await new Deno.Command(Deno.execPath(), { args: ["eval", ${
      JSON.stringify(HOLD)
    }] }).output();`;
    const idle = await evaluate("setTimeout(() => {}, 400)"), parent = await evaluate(child);
    // The idle program is one process. The parent and its child are two processes, and the child holds 64 MiB more.
    assert.ok(
      parent.peakBytes > idle.peakBytes + 64 * MIB,
      `${parent.peakBytes} and ${idle.peakBytes} bytes`,
    );
  });

  it("throws an error that contains the end of the program's standard error if the program fails", () =>
    assert.rejects(
      evaluate("console.error('no such model'); Deno.exit(3)"),
      /ended with code 3\n.*no such model/s,
    ));

  it("passes only the environment variables in `env` to the program", async () => {
    Deno.env.set("PARE_TEST_OUTER", "outer");
    try {
      const code = "console.log(Deno.env.get('PARE_TEST_INNER'), Deno.env.has('PARE_TEST_OUTER'))";
      const env = { PARE_TEST_INNER: "inner" };
      const { stdout } = await measureProcess({ command: Deno.execPath(), args: ["eval", code], env });
      assert.equal(stdout.trim(), "inner false");
    } finally {
      Deno.env.delete("PARE_TEST_OUTER");
    }
  });
});
