/** Tests the builds that run before commands such as `deno task pare`, whose standard output belongs to the command. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";

const REPOSITORY = new URL("../../", import.meta.url);

/** Runs a script of the repository, which must succeed, and returns its standard output. */
async function standardOutput(script: string): Promise<string> {
  const args = ["run", "-A", "--quiet", "--no-check", script];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: REPOSITORY })
    .output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

describe("a build before a command", () => {
  it("prints nothing on standard output, even if two commands start at the same time", async () => {
    await Deno.remove(new URL("build/pages/files.json", REPOSITORY)).catch(() => {});
    const scripts = ["scripts/build_pages.ts", "scripts/build_pages.ts", "scripts/build_wasm.ts"];
    assert.deepEqual(await Promise.all(scripts.map(standardOutput)), ["", "", ""]);
    const { texts } = JSON.parse(await Deno.readTextFile(new URL("build/pages/files.json", REPOSITORY)));
    assert.ok("playground.js" in texts && "style.css" in texts);
  });
});
