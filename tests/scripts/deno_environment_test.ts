/** Tests the V8 flags with which commands run, and the program that adds them. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import { PAIRING_FLAGS } from "../../src/device/cpu/instruction_pairing.ts";
import { denoEnvironment } from "../../scripts/launcher/deno_environment.ts";
import { fileURLToPath } from "node:url";

const FLAGS = "DENO_V8_FLAGS", THRESHOLD = "MALLOC_MMAP_THRESHOLD_";

describe("denoEnvironment()", () => {
  const before = Deno.env.get(FLAGS);
  beforeEach(() => Deno.env.delete(FLAGS));
  afterEach(() => before === undefined ? Deno.env.delete(FLAGS) : Deno.env.set(FLAGS, before));

  const flags = () => denoEnvironment(Deno.execPath(), Deno.version.deno)[FLAGS];

  it("saves memory of V8 on every processor, and pairs instructions on x86-64", () => {
    const pairing = Deno.build.arch === "x86_64" ? PAIRING_FLAGS : [];
    assert.deepEqual(flags()?.split(","), [...pairing, "--max-semi-space-size=4"]);
  });

  it("gives flags with which a process starts", async () => {
    const env = { [FLAGS]: flags()! };
    const { success } = await new Deno.Command(Deno.execPath(), { args: ["eval", ""], env }).output();
    assert.ok(success);
  });

  it("gives large arrays mappings of their own, unless the user chose a size", () => {
    const threshold = () => denoEnvironment(Deno.execPath(), Deno.version.deno)[THRESHOLD];
    const before = Deno.env.get(THRESHOLD);
    try {
      Deno.env.delete(THRESHOLD);
      assert.equal(threshold(), "4194304");
      Deno.env.set(THRESHOLD, "1000");
      assert.equal(threshold(), "1000");
    } finally {
      if (before === undefined) Deno.env.delete(THRESHOLD);
      else Deno.env.set(THRESHOLD, before);
    }
  });

  it("keeps the flags of the user", () => {
    Deno.env.set(FLAGS, "--single-threaded");
    assert.equal(flags(), "--single-threaded");
  });
});

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
