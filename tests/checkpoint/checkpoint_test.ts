import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { openModel } from "../../src/models/model.ts";
import { decode } from "../../src/safetensors/decode.ts";
import { patternTensor, shardedCheckpoint, writeFiles } from "../support/checkpoint_files.ts";
import { openOptSotu, OPT_SOTU } from "../support/opt_sotu.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { pickle, torchFile } from "../support/torch_archive.ts";

/** Asserts that a folder of `files` is refused with a ModelError that says `pattern`. */
async function assertRefused(files: Record<string, string | object>, pattern: RegExp): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    await writeFiles(folder, files);
    const open = async () => openModel(await openCheckpoint(folder, denoFileSystem));
    await assert.rejects(open, { name: "ModelError", message: pattern });
  });
}

const TORCH = fileURLToPath(new URL("../fixtures/torch", import.meta.url));

/** What torch.save wrote, read through a checkpoint, is what safetensors wrote. */
async function assertAsExpected(folder: string): Promise<void> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  const { tensors } = decode(await Deno.readFile(`${folder}/expected.safetensors`));
  assert.deepEqual([...checkpoint.names()].sort(), [...tensors.keys()].sort());
  for (const [name, expected] of tensors) assert.deepEqual(await checkpoint.tensor(name), expected, name);
  openModel(checkpoint);
  await checkpoint.close();
}

describe("openCheckpoint of pytorch_model.bin", () => {
  it("reads the tensors that safetensors has, tied ones twice", () => assertAsExpected(`${TORCH}/opt`));

  it("reads the shards an index names", () => assertAsExpected(`${TORCH}/opt-sharded`));

  it("gives shards the names and the index of a safetensors copy", async () => {
    const checkpoint = await openCheckpoint(`${TORCH}/opt-sharded`, denoFileSystem);
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert.deepEqual(checkpoint.shards.map((shard) => shard.name), names);
    const index = JSON.parse(new TextDecoder().decode(await checkpoint.indexFile()));
    assert.equal(
      index.metadata.total_size,
      checkpoint.shards.reduce((sum, { header }) => sum + header.dataBytes, 0),
    );
    const places = checkpoint.shards.flatMap((shard) =>
      shard.header.tensors.map(({ name }) => [name, shard.name])
    );
    assert.deepEqual(index.weight_map, Object.fromEntries(places));
    await checkpoint.close();
    const whole = await openCheckpoint(`${TORCH}/opt`, denoFileSystem);
    assert.deepEqual(whole.shards.map((shard) => shard.name), ["model.safetensors"]);
    assert.equal(await whole.indexFile(), undefined);
    await whole.close();
  });

  it("prefers safetensors where there are both", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { ...shardedCheckpoint(), "pytorch_model.bin": "not read" });
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      assert.equal(checkpoint.shards.length, 2);
      await checkpoint.close();
    }));

  it("names the file it refuses, and leaves none open", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { "config.json": { model_type: "opt" } });
      await Deno.copyFile(`${TORCH}/old_format.bin`, `${folder}/pytorch_model.bin`);
      let open = 0;
      const counting = {
        ...denoFileSystem,
        open: async (path: string) => {
          const file = await denoFileSystem.open(path);
          open++;
          return {
            byteLength: file.byteLength,
            read: file.read.bind(file),
            close: () => (open--, file.close()),
          };
        },
      };
      await assert.rejects(openCheckpoint(folder, counting), {
        name: "ModelError",
        message: /pytorch_model.bin: is in the format of torch.save before 1.6/,
      });
      assert.equal(open, 0);
    }));

  it("refuses shards that would be called alike in a copy", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, {
        "config.json": { model_type: "opt" },
        "pytorch_model.bin.index.json": { weight_map: { w: "pytorch_model-1.bin", x: "model-1.bin" } },
      });
      for (const name of ["pytorch_model-1.bin", "model-1.bin"]) {
        await Deno.writeFile(
          `${folder}/${name}`,
          torchFile(pickle.file(pickle.dict([name, pickle.tensor()]))),
        );
      }
      await assert.rejects(
        openCheckpoint(folder, denoFileSystem),
        /two weight files would be called model-1.safetensors in a copy/,
      );
    }));
});

describe("openCheckpoint", () => {
  it("reads every tensor as the whole-file decoder does", async () => {
    const checkpoint = await openOptSotu();
    const { tensors } = decode(await Deno.readFile(`${OPT_SOTU}/model.safetensors`));
    assert.deepEqual([...checkpoint.names()], [...tensors.keys()]);
    await Promise.all([...tensors].map(async ([name, expected]) => {
      assert.deepEqual(await checkpoint.tensor(name), expected, name);
    }));
    await checkpoint.close();
  });

  it("reads the shards an index names", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, shardedCheckpoint());
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      assert.deepEqual([...checkpoint.names()], ["a", "b", "c", "d", "e"]);
      assert.deepEqual(await checkpoint.tensor("d"), patternTensor("F16", [7], 4));
      assert.deepEqual(await checkpoint.read("b", 4, 8), patternTensor("F32", [4], 2).data.slice(4, 12));
      await checkpoint.close();
    }));

  it("follows links, as the Hugging Face cache has them", () =>
    withTemporaryFolder(async (folder) => {
      for (const name of ["config.json", "model.safetensors"]) {
        await Deno.symlink(`${OPT_SOTU}/${name}`, `${folder}/${name}`);
      }
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      assert.ok(checkpoint.has("model.decoder.layers.3.fc2.weight"));
      await checkpoint.close();
    }));

  it("names the nearest tensor to one that is missing", async () => {
    const checkpoint = await openOptSotu();
    assert.throws(() => checkpoint.info("decoder.layers.2.fc1.weight"), {
      name: "ModelError",
      message: /has no tensor decoder.layers.2.fc1.weight; the nearest is model.decoder.layers.2.fc1.weight/,
    });
    await checkpoint.close();
  });

  it("refuses a folder that is not there", async () => {
    await assert.rejects(openCheckpoint(`${OPT_SOTU}/nowhere`, denoFileSystem), {
      name: "ModelError",
      message: /nowhere: there is no such folder/,
    });
  });

  it("refuses a folder without config.json, or with a broken one", async () => {
    await assertRefused({}, /has no config.json/);
    await assertRefused({ "config.json": "{" }, /config.json: is not valid JSON/);
    await assertRefused({ "config.json": "[]" }, /config.json: is not a JSON object/);
  });

  it("refuses a folder without weights, and says what they may be called", async () => {
    await assertRefused(
      { "config.json": { model_type: "opt" } },
      /has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json/,
    );
  });

  it("refuses an index that is none, or that names a file elsewhere", async () => {
    const config = { "config.json": { model_type: "opt" } };
    for (const name of ["model.safetensors.index.json", "pytorch_model.bin.index.json"]) {
      await assertRefused({ ...config, [name]: {} }, new RegExp(`${name}: .*weight_map`, "s"));
      await assertRefused(
        { ...config, [name]: { weight_map: { a: "../config.json" } } },
        /names the shard ..\/config.json, which is not there/,
      );
    }
  });

  it("refuses a shard that is missing, cut short, or holds a tensor again", async () => {
    const files = shardedCheckpoint();
    const { "model-00002-of-00002.safetensors": second, ...rest } = files;
    await assertRefused(rest, /names the shard model-00002-of-00002.safetensors, which is not there/);
    await assertRefused(
      {
        ...rest,
        "model-00002-of-00002.safetensors": { ...second as object, a: patternTensor("F16", [1], 6) },
      },
      /model-00001-of-00002.safetensors and model-00002-of-00002.safetensors both hold a/,
    );
    await withTemporaryFolder(async (folder) => {
      await writeFiles(folder, files);
      await Deno.truncate(`${folder}/model-00001-of-00002.safetensors`, 170);
      await assert.rejects(openCheckpoint(folder, denoFileSystem), {
        name: "ModelError",
        message: /model-00001-of-00002.safetensors: safetensors data: file ends at byte 170 but needs/,
      });
      await Deno.truncate(`${folder}/model-00001-of-00002.safetensors`, 5);
      await assert.rejects(openCheckpoint(folder, denoFileSystem), /file ends at byte 5 but needs 8/);
    });
  });

  it("refuses a family it does not know", async () => {
    const weights = { "model.safetensors": {} };
    await assertRefused(
      { ...weights, "config.json": { model_type: "t5" } },
      /model_type "t5" is not supported; these are: opt/,
    );
    await assertRefused({ ...weights, "config.json": {} }, /model_type undefined is not supported/);
  });
});
