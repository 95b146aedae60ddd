/** Tests packing and unpacking a checkpoint with several weight files. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { packCheckpoint } from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import { unpackCheckpoint } from "../../../src/checkpoint/packed/unpack_checkpoint.ts";
import { openModel } from "../../../src/models/model.ts";
import { patternTensor, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { readTensors, sparseWeight, withCheckpoint } from "./packed_checkpoints.ts";

describe("pack and unpack a sharded checkpoint", () => {
  it("preserves the shards, writes their index and copies the other files", () =>
    withTemporaryFolder(async (folder) => {
      const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
      const first = {
        "a.weight": sparseWeight("F16", [30, 31], 0.7),
        "a.bias": patternTensor("F16", [31], 3),
      };
      const second = {
        "b.weight": sparseWeight("F32", [12, 40], 0.5),
        "c.weight": sparseWeight("F32", [6, 6], 0),
      };
      const names = [
        ...Object.keys(first).map((name) => [name, one]),
        ...Object.keys(second).map((name) => [name, two]),
      ];
      await Deno.mkdir(`${folder}/source`);
      await writeFiles(`${folder}/source`, {
        "config.json": { model_type: "opt" },
        "model.safetensors.index.json": {
          metadata: { total_size: 1 },
          weight_map: Object.fromEntries(names),
        },
        [one]: first,
        [two]: second,
        "tokenizer.json": '{"version": "1.0" }\n',
        "pytorch_model.bin": "the same weights, pickled",
      });
      const done: string[] = [];
      const result = await withCheckpoint(
        `${folder}/source`,
        (opened) =>
          packCheckpoint(opened, `${folder}/packed`, denoFileSystem, {
            format: "bitmask",
            progress: (count, total, name) => done.push(`${count}/${total} ${name}`),
            rewriteFiles: ({ packed }) => new Map([["notes.txt", packed.join()]]),
          }),
      );
      assert.deepEqual(result.packed, ["a.weight", "b.weight"]);
      assert.deepEqual(done, ["1/4 a.weight", "2/4 a.bias", "3/4 b.weight", "4/4 c.weight"]);
      assert.equal(result.bytes.written, sizes(`${folder}/packed`, [one, two]));
      assert.equal(result.bytes.dense, sizes(`${folder}/source`, [one, two]));
      const index = JSON.parse(await Deno.readTextFile(`${folder}/packed/model.safetensors.index.json`));
      assert.equal(index.weight_map["a.row_offsets"], one);
      assert.equal(index.weight_map["c.weight"], two);
      assert.equal(index.weight_map["a.weight"], undefined);
      assert.equal(await Deno.readTextFile(`${folder}/packed/tokenizer.json`), '{"version": "1.0" }\n');
      assert.equal(await Deno.readTextFile(`${folder}/packed/notes.txt`), "a.weight,b.weight");
      assert.ok(![...Deno.readDirSync(`${folder}/packed`)].some(({ name }) => name === "pytorch_model.bin"));
      await withCheckpoint(`${folder}/packed`, (opened) => {
        assert.throws(() => openModel(opened), { name: "ModelError", message: /pare unpack/ });
        return unpackCheckpoint(opened, `${folder}/dense`, denoFileSystem);
      });
      assert.deepEqual(await readTensors(`${folder}/dense`), { ...first, ...second });
    }));
});

function sizes(folder: string, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + Deno.statSync(`${folder}/${name}`).size, 0);
}
