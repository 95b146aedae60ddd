import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/file_system.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

describe("denoFileSystem", () => {
  it("reads at overlapping times what it wrote at overlapping times", () =>
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
      assert.deepEqual(read, pieces);
      await source.close();
      await source.close();
    }));

  it("addresses bytes past 2³²", () =>
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

  it("refuses to read past the end, and goes on", () =>
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

  it("lists files and links to files, not folders or links to nothing; undefined without a folder", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/b`, "");
      await Deno.mkdir(`${folder}/c`);
      await Deno.symlink(`${folder}/b`, `${folder}/a`);
      await Deno.symlink(`${folder}/c`, `${folder}/d`);
      await Deno.symlink(`${folder}/nothing`, `${folder}/e`);
      assert.deepEqual(await denoFileSystem.list(folder), ["a", "b"]);
      assert.equal(await denoFileSystem.list(`${folder}/none`), undefined);
    }));
});
