/** Tests the message for an output that cannot be written. `exit_codes_slow_test.ts` tests the checks in the commands. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { dirname } from "node:path";
import {
  requireNoInput,
  requireWritableFile,
  requireWritableFolder,
} from "../../../src/cli/files/output_path.ts";
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

describe("requireNoInput()", () => {
  it("refuses to replace a file that the command reads, also by another name", () =>
    withTemporaryFolder(async (folder) => {
      const [text, input, other] = ["text", "input", "other"].map((name) => `${folder}/${name}`);
      for (const path of [text, input, other]) await Deno.writeTextFile(path, "");
      await Deno.link(input, `${folder}/link`);
      for (const path of [input, `${folder}/./input`, `${folder}/link`]) {
        await assert.rejects(requireNoInput("--out", path, [text, input]), {
          name: "UsageError",
          message:
            `option --out ${path}: would replace ${input}, which the command reads; write to another file`,
        });
      }
      for (const path of [other, `${folder}/absent`]) await requireNoInput("--out", path, [text, input]);
    }));
});

const isWindows = Deno.build.os === "windows" && "Windows has no pipes, sockets and devices in folders";

/** Special files in a folder: their names, and what they are. Disposing closes the socket. */
interface SpecialFiles extends Disposable {
  readonly kinds: Readonly<Record<string, string>>;
}

/** Creates a pipe, a socket, a link to a device and, with the rights of root, a device in `folder`. */
async function makeSpecialFiles(folder: string): Promise<SpecialFiles> {
  await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
  const listener = Deno.listen({ transport: "unix", path: `${folder}/socket` });
  await Deno.symlink("/dev/null", `${folder}/device-link`);
  const { success } = await new Deno.Command("mknod", { args: [`${folder}/device`, "c", "1", "3"] }).output();
  const kinds = {
    pipe: "a pipe",
    socket: "a socket",
    "device-link": "a link",
    ...success && { device: "a device" },
  };
  return { kinds, [Symbol.dispose]: () => listener.close() };
}

describe("an output that is not a regular file", { skip: isWindows }, () => {
  it("is refused, and is not changed", () =>
    withTemporaryFolder(async (folder) => {
      using special = await makeSpecialFiles(folder);
      await Deno.writeTextFile(`${folder}/file`, "");
      await Deno.symlink(`${folder}/file`, `${folder}/file-link`);
      await Deno.symlink(`${folder}/absent`, `${folder}/dangling-link`);
      for (
        const [name, kind] of Object.entries({
          ...special.kinds,
          "file-link": "a link",
          "dangling-link": "a link",
        })
      ) {
        const path = `${folder}/${name}`, before = await Deno.lstat(path);
        await assert.rejects(requireWritableFile("--out", path), {
          name: "UsageError",
          message: `option --out ${path}: is ${kind}, not a file`,
        });
        assert.equal((await Deno.lstat(path)).ino, before.ino);
      }
      await requireWritableFile("--out", `${folder}/file`);
      await assert.rejects(requireWritableFile("--out", "/dev/null"), /is a device, not a file/);
    }));

  it("is refused as a folder, and inside of a folder", () =>
    withTemporaryFolder(async (folder) => {
      using special = await makeSpecialFiles(folder);
      for (const name of Object.keys(special.kinds)) {
        const path = `${folder}/${name}`, inside = `${folder}/out-${name}`;
        await assert.rejects(requireWritableFolder("--out", path), /is not a folder/);
        await Deno.mkdir(inside);
        await Deno.rename(path, `${inside}/model.safetensors`);
        await assert.rejects(requireWritableFolder("--out", inside), {
          name: "UsageError",
          message: /has model\.safetensors, which is a (pipe|socket|device|link); choose another folder$/,
        });
      }
    }));

  it("is refused inside of an unfinished run, at any depth", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.mkdir(`${folder}/elsewhere`);
      for (const path of [".pare", ".pare/journal.jsonl", ".pare/dense/model.safetensors.partial"]) {
        const out = `${folder}/${path.replaceAll("/", "-")}`, link = `${out}/${path}`;
        await Deno.mkdir(dirname(link), { recursive: true });
        await Deno.symlink(`${folder}/elsewhere`, link);
        await assert.rejects(requireWritableFolder("--out", out), {
          name: "UsageError",
          message: `option --out ${out}: has ${path}, which is a link; choose another folder`,
        });
      }
    }));

  it("says that a folder is a link that leads nowhere", () =>
    withTemporaryFolder(async (folder) => {
      const out = `${folder}/out`;
      await Deno.symlink(`${folder}/absent`, out);
      await assert.rejects(requireWritableFolder("--out", out), {
        name: "UsageError",
        message: `option --out ${out}: cannot be written: ${out}: is a link that leads nowhere`,
      });
    }));
});
