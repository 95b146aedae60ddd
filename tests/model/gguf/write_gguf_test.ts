/** Tests that a GGUF file is whole or absent, whatever ends its writer. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { WorkFileSystem } from "../../../src/base/files/file_system.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { writeGguf } from "../../../src/model/gguf/write_gguf.ts";
import { assertSame } from "../../support/assert_same.ts";
import { fullAfter, Killed, killedAfter } from "../../support/failing_file_system.ts";
import { OPT_SOTU } from "../../support/opt_sotu.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder(), path = `${folder}/model.gguf`;

async function write(fs: WorkFileSystem, signal?: AbortSignal): Promise<void> {
  await using opened = await openModelFolder(OPT_SOTU.replace("opt-sotu", "llama-sotu"), denoFileSystem);
  await writeGguf(opened, path, fs, { name: "a name", type: "f16", round: false, signal });
}

const files = () => [...Deno.readDirSync(folder)].map(({ name }) => name).toSorted();

describe("writeGguf()", () => {
  it("leaves the earlier file until the new one is whole, killed before any change, and then writes the same bytes", async () => {
    await write(denoFileSystem);
    const whole = await Deno.readFile(path);
    let changes = 0;
    for (;; changes++) {
      await Deno.writeTextFile(path, "earlier");
      try {
        await write(killedAfter(denoFileSystem, changes));
        break;
      } catch (error) {
        assert.ok(error instanceof Killed, String(error));
      }
      assert.equal(await Deno.readTextFile(path), "earlier");
      assert.deepEqual(files(), changes === 0 ? ["model.gguf"] : ["model.gguf", "model.gguf.partial"]);
    }
    // The header, 38 tensors, and the steps that create, flush and rename the file.
    assert.equal(changes, 1 + 38 + 3);
    assertSame(await Deno.readFile(path), whole);
    assert.deepEqual(files(), ["model.gguf"]);
  });

  it("leaves the earlier file and nothing else if the disk is full, or if it is interrupted", async () => {
    await Deno.writeTextFile(path, "earlier");
    await assert.rejects(write(fullAfter(denoFileSystem, 1e6)), /no space is left on the disk/);
    const interrupted = new AbortController();
    interrupted.abort(new Error("interrupted"));
    await assert.rejects(write(denoFileSystem, interrupted.signal), /interrupted/);
    assert.equal(await Deno.readTextFile(path), "earlier");
    assert.deepEqual(files(), ["model.gguf"]);
  });
});
