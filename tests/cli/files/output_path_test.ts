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
});
