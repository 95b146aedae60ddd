/** Tests denoEnvironment(), which chooses the V8 flags and the other environment variables of the commands. */

import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { PAIRING_FLAGS } from "../../src/cpu/instruction_pairing.ts";
import { denoEnvironment } from "../../scripts/launcher/deno_environment.ts";

const FLAGS = "DENO_V8_FLAGS", THRESHOLD = "MALLOC_MMAP_THRESHOLD_";

describe("denoEnvironment()", () => {
  const before = Deno.env.get(FLAGS);
  beforeEach(() => Deno.env.delete(FLAGS));
  afterEach(() => before === undefined ? Deno.env.delete(FLAGS) : Deno.env.set(FLAGS, before));

  const flags = () => denoEnvironment(Deno.execPath(), Deno.version.deno)[FLAGS];

  it("limits the part of V8's heap for new objects on every processor, and pairs instructions on x86-64", () => {
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
