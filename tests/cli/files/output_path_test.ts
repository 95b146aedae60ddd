/** Tests the message for an output that cannot be written. `exit_codes_test.ts` tests the checks in the commands. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { requireWritableFile } from "../../../src/cli/files/output_path.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

describe("requireWritableFile()", () => {
  it("names the missing folder, and not the file by which it was tested", () =>
    withTemporaryFolder(async (folder) => {
      const missing = `${folder}/missing`, path = `${missing}/layer.safetensors`;
      await assert.rejects(requireWritableFile("--out", path), {
        name: "UsageError",
        message: `option --out ${path}: cannot be written: ${missing}: there is no such file or folder`,
      });
    }));

  it("refuses a device, a pipe and a link to a device, and leaves them as they are", () =>
    withTemporaryFolder(async (folder) => {
      const pipe = `${folder}/pipe`, link = `${folder}/link`;
      await new Deno.Command("mkfifo", { args: [pipe] }).output();
      await Deno.symlink("/dev/null", link);
      for (const path of ["/dev/null", pipe, link]) {
        await assert.rejects(requireWritableFile("--out", path), {
          name: "UsageError",
          message: `option --out ${path}: exists and is no regular file, such as a device or a pipe`,
        });
        assert.equal((await Deno.stat(path)).isFile, false);
      }
    }));

  it("accepts a regular file and a link to one", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/file`, "kept");
      await Deno.symlink(`${folder}/file`, `${folder}/link`);
      for (const name of ["file", "link", "new"]) await requireWritableFile("--out", `${folder}/${name}`);
      assert.equal(await Deno.readTextFile(`${folder}/file`), "kept");
    }));
});
