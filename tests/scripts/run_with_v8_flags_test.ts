/** Tests the program that starts Deno with V8 flags: signals must reach the child, whose exit code it returns. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../../scripts/run_with_v8_flags.ts", import.meta.url));

/** A program that prints `ready`, and exits with 7 when it receives the signal. */
const CHILD = (signal: string) =>
  `Deno.addSignalListener("${signal}", () => Deno.exit(7)); console.log("ready"); setTimeout(() => {}, 60_000);`;

describe("run_with_v8_flags.ts", { skip: Deno.build.os === "windows" && "Windows has only SIGINT" }, () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"] as const) {
    it(`passes ${signal} on, and ends with the exit code of the child`, async () => {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", PROGRAM, "eval", CHILD(signal)],
        stdin: "null",
        stdout: "piped",
      }).spawn();
      let printed = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        printed += text;
        if (printed === "ready\n") child.kill(signal);
      }
      assert.equal((await child.status).code, 7);
    });
  }
});
