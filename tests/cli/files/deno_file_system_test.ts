import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../../support/assert_same.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

describe("denoFileSystem", () => {
  it("names the path and the reason if the operating system refuses an operation", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/file`, "");
      const failing: readonly (readonly [() => Promise<unknown>, string, string])[] = [
        [
          () => denoFileSystem.open(`${folder}/none`),
          "ENOENT",
          `${folder}/none: there is no such file or folder`,
        ],
        [
          () => denoFileSystem.list(`${folder}/file`),
          "ENOTDIR",
          `${folder}/file: is not a folder, or lies in a file instead of a folder`,
        ],
        [() => denoFileSystem.create(folder), "EISDIR", `${folder}: is a folder, not a file`],
      ];
      for (const [operation, code, message] of failing) {
        await assert.rejects(operation, { name: "FileError", code, message, isTransient: false });
      }
    }));

  it("reports a full disk as transient", {
    skip: Deno.build.os !== "linux" && "only Linux has /dev/full",
  }, async () => {
    const file = await denoFileSystem.create("/dev/full");
    const message = "/dev/full: no space is left on the disk";
    await assert.rejects(file.write(0, new Uint8Array(9)), { code: "ENOSPC", message, isTransient: true });
    await file.close();
  });

  it("creates a file in place of a link, and does not follow it", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/victim`, "kept");
      for (const [name, target] of [["link", `${folder}/victim`], ["dangling", `${folder}/absent`]]) {
        await Deno.symlink(target, `${folder}/${name}`);
        const file = await denoFileSystem.create(`${folder}/${name}`);
        await file.close();
        assert.ok((await Deno.lstat(`${folder}/${name}`)).isFile);
      }
      assert.equal(await Deno.readTextFile(`${folder}/victim`), "kept");
      await assert.rejects(Deno.lstat(`${folder}/absent`), Deno.errors.NotFound);
    }));

  it("reads and writes at the right offsets in overlapping calls", () =>
    withTemporaryFolder(async (folder) => {
      const pieces = Array.from({ length: 20 }, (_, i) => new Uint8Array(1000 + i).fill(i));
      const starts = pieces.map((_, i) =>
        pieces.slice(0, i).reduce((sum, piece) => sum + piece.byteLength, 0)
      );
      const target = await denoFileSystem.create(`${folder}/file`);
      await Promise.all(pieces.map((piece, i) => target.write(starts[i], piece)));
      await target.sync();
      await target.close();
      const source = await denoFileSystem.open(`${folder}/file`);
      assert.equal(source.byteLength, starts[19] + 1019);
      const read = await Promise.all(pieces.map((piece, i) => source.read(starts[i], piece.byteLength)));
      assertSame(read, pieces);
      await source.close();
      await source.close();
    }));

  it("reads and writes at offsets above 2³²", () =>
    withTemporaryFolder(async (folder) => {
      const target = await denoFileSystem.create(`${folder}/sparse`);
      await target.write(2 ** 32 + 5, Uint8Array.of(1, 2, 3));
      await target.write(5, Uint8Array.of(9));
      await target.close();
      const source = await denoFileSystem.open(`${folder}/sparse`);
      assert.equal(source.byteLength, 2 ** 32 + 8);
      assert.deepEqual(await source.read(2 ** 32 + 4, 4), Uint8Array.of(0, 1, 2, 3));
      assert.deepEqual(await source.read(4, 2), Uint8Array.of(0, 9));
      await source.close();
    }));

  it("refuses to read past the end of a file, and can read again after that", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeFile(`${folder}/file`, Uint8Array.of(1, 2, 3));
      const source = await denoFileSystem.open(`${folder}/file`);
      await assert.rejects(source.read(1, 3), {
        name: "RangeError",
        message: /file: ends at byte 3, needs 4/,
      });
      assert.deepEqual(await source.read(1, 2), Uint8Array.of(2, 3));
      await source.close();
    }));

  it("lists files and links to files, but not folders or dangling links, and returns undefined for a missing folder", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/b`, "");
      await Deno.mkdir(`${folder}/c`);
      await Deno.symlink(`${folder}/b`, `${folder}/a`);
      await Deno.symlink(`${folder}/c`, `${folder}/d`);
      await Deno.symlink(`${folder}/nothing`, `${folder}/e`);
      assert.deepEqual(await denoFileSystem.list(folder), ["a", "b"]);
      assert.equal(await denoFileSystem.list(`${folder}/none`), undefined);
    }));

  it("edits an existing file, and creates a missing one", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/file`;
      for (const [before, offset] of [[0, 0], [3, 1], [3, 5]]) {
        const file = await denoFileSystem.edit(path);
        assert.equal(file.byteLength, before);
        await file.write(offset, Uint8Array.of(7, 8, 9));
        assert.deepEqual(await file.read(offset, 3), Uint8Array.of(7, 8, 9));
        await file.close();
        if (offset === 1) await Deno.truncate(path, 3);
      }
      assert.deepEqual(await Deno.readFile(path), Uint8Array.of(7, 7, 8, 0, 0, 7, 8, 9));
    }));

  it("grants a lock to one holder until the holder releases it", () =>
    withTemporaryFolder(async (folder) => {
      const lock = await denoFileSystem.lock(`${folder}/lock`);
      assert.ok(lock);
      assert.equal(await denoFileSystem.lock(`${folder}/lock`), undefined);
      await lock[Symbol.asyncDispose]();
      await lock[Symbol.asyncDispose]();
      await using again = await denoFileSystem.lock(`${folder}/lock`);
      assert.ok(again);
    }));

  it("syncs and removes folders, and returns the time at which a file was modified", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.mkdir(`${folder}/a/b`, { recursive: true });
      await Deno.writeTextFile(`${folder}/a/file`, "");
      await Deno.utime(`${folder}/a/file`, 5, 1_000_000_000);
      assert.equal(await denoFileSystem.modified(`${folder}/a/file`), 1e12);
      await denoFileSystem.syncFolder(`${folder}/a`);
      for (let i = 0; i < 2; i++) await denoFileSystem.removeFolder(`${folder}/a`);
      assert.equal(await denoFileSystem.list(`${folder}/a`), undefined);
    }));
});
