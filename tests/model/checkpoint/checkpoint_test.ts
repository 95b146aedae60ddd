import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { openModel } from "../../../src/model/model.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { assertSame } from "../../support/assert_same.ts";
import { patternTensor, shardedCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { FOLDER, memoryFolder } from "../../support/memory_folder.ts";
import { openOptSotu, OPT_SOTU } from "../../support/opt_sotu.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { pickle, torchFile } from "../../support/torch_archive.ts";

/** Writes `files` to a folder and asserts that opening it fails with a ModelError whose message matches `pattern`. */
async function assertRefused(files: Record<string, string | object>, pattern: RegExp): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    await writeFiles(folder, files);
    const open = async () => openModel(await openCheckpoint(folder, denoFileSystem));
    await assert.rejects(open, { name: "ModelError", message: pattern });
  });
}

const TORCH = fileURLToPath(new URL("../../fixtures/torch", import.meta.url));

/** Asserts that the tensors of a torch checkpoint equal those in the file expected.safetensors beside it. */
async function assertTensorsMatch(folder: string): Promise<void> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  const { tensors } = decode(await Deno.readFile(`${folder}/expected.safetensors`));
  assert.deepEqual([...checkpoint.names()].sort(), [...tensors.keys()].sort());
  for (const [name, expected] of tensors) assert.deepEqual(await checkpoint.tensor(name), expected, name);
  openModel(checkpoint);
  await checkpoint.close();
}

describe("openCheckpoint of pytorch_model.bin", () => {
  it("reads the same tensors as from a safetensors file, and tied tensors under both of their names", () =>
    assertTensorsMatch(`${TORCH}/opt`));

  it("reads all shards that the index names", () => assertTensorsMatch(`${TORCH}/opt-sharded`));

  it("names the shards and writes the index for a safetensors copy", async () => {
    const checkpoint = await openCheckpoint(`${TORCH}/opt-sharded`, denoFileSystem);
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert.deepEqual(checkpoint.shards.map((shard) => shard.name), names);
    const index = JSON.parse(new TextDecoder().decode(await checkpoint.weights.indexFile!()));
    assert.equal(
      index.metadata.total_size,
      checkpoint.shards.reduce((sum, { header }) => sum + header.dataBytes, 0),
    );
    const shardOfTensor = checkpoint.shards.flatMap((shard) =>
      shard.header.tensors.map(({ name }) => [name, shard.name])
    );
    assert.deepEqual(index.weight_map, Object.fromEntries(shardOfTensor));
    await checkpoint.close();
    const whole = await openCheckpoint(`${TORCH}/opt`, denoFileSystem);
    assert.deepEqual(whole.shards.map((shard) => shard.name), ["model.safetensors"]);
    assert.equal(whole.weights.indexFile, undefined);
    await whole.close();
  });

  it("prefers safetensors if the folder has both formats", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { ...shardedCheckpoint(), "pytorch_model.bin": "not read" });
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      assert.equal(checkpoint.shards.length, 2);
      await checkpoint.close();
    }));

  it("names the unsupported file in the error and closes all files", () =>
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

  it("rejects two shards whose copies would have the same name", () =>
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
  it("reads the same tensors as decode(), which reads a whole file", async () => {
    const checkpoint = await openOptSotu();
    const { tensors } = decode(await Deno.readFile(`${OPT_SOTU}/model.safetensors`));
    assert.deepEqual([...checkpoint.names()], [...tensors.keys()]);
    await Promise.all([...tensors].map(async ([name, expected]) => {
      assertSame(await checkpoint.tensor(name), expected, name);
    }));
    await checkpoint.close();
  });

  it("reads all shards that the index names", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, shardedCheckpoint());
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      assert.deepEqual([...checkpoint.names()], ["a", "b", "c", "d", "e"]);
      assert.deepEqual(await checkpoint.tensor("d"), patternTensor("F16", [7], 4));
      assert.deepEqual(await checkpoint.read("b", 4, 8), patternTensor("F32", [4], 2).data.slice(4, 12));
      await checkpoint.close();
    }));

  it("follows links within the folder, and the links of the Hugging Face cache to the blobs of the model", () =>
    withTemporaryFolder(async (folder) => {
      const model = `${folder}/models--some--opt`, snapshot = `${model}/snapshots/${"1".repeat(40)}`;
      await Deno.mkdir(snapshot, { recursive: true });
      await Deno.mkdir(`${model}/blobs`);
      for (const [i, name] of ["config.json", "model.safetensors"].entries()) {
        await Deno.copyFile(`${OPT_SOTU}/${name}`, `${model}/blobs/${i}`);
        await Deno.symlink(`../../blobs/${i}`, `${snapshot}/${name}`);
      }
      await Deno.symlink("config.json", `${snapshot}/alias.json`);
      await Deno.symlink(snapshot, `${folder}/link`);
      for (const path of [snapshot, `${folder}/link`]) {
        const checkpoint = await openCheckpoint(path, denoFileSystem);
        assert.ok(checkpoint.has("model.decoder.layers.3.fc2.weight"));
        await checkpoint.close();
      }
    }));

  it("refuses links to files outside of the folder, whose contents would be copied into the pruned model", () =>
    withTemporaryFolder(async (folder) => {
      const secret = `${folder}/secret`;
      await Deno.writeTextFile(secret, "a private key");
      for (
        const model of ["model", "models--a--b/snapshots/1", "models--a--b/snapshots/2/more", "models--a--b"]
      ) {
        const path = `${folder}/${model}`;
        await Deno.mkdir(path, { recursive: true });
        await Deno.copyFile(`${OPT_SOTU}/config.json`, `${path}/config.json`);
        await Deno.copyFile(`${OPT_SOTU}/model.safetensors`, `${path}/model.safetensors`);
        await Deno.symlink(secret, `${path}/tokenizer.model`);
        await assert.rejects(openCheckpoint(path, denoFileSystem), {
          name: "ModelError",
          message: /tokenizer\.model: is a link to .*\/secret, outside of the folder of the model/,
        });
      }
    }));

  it("names the most similar tensor in the error about a missing one", async () => {
    const checkpoint = await openOptSotu();
    assert.throws(() => checkpoint.info("decoder.layers.2.fc1.weight"), {
      name: "ModelError",
      message: /has no tensor decoder.layers.2.fc1.weight; the nearest is model.decoder.layers.2.fc1.weight/,
    });
    await checkpoint.close();
  });

  it("rejects a folder that does not exist", async () => {
    await assert.rejects(openCheckpoint(`${OPT_SOTU}/nowhere`, denoFileSystem), {
      name: "ModelError",
      message: /nowhere: there is no such folder/,
    });
  });

  it("rejects a folder whose config.json is missing or malformed", async () => {
    await assertRefused({}, /has no config.json/);
    await assertRefused({ "config.json": "{" }, /config.json: is not valid JSON/);
    await assertRefused({ "config.json": "[]" }, /config.json: is not a JSON object/);
  });

  it("rejects a folder without weights and lists the supported file names", async () => {
    await assertRefused(
      { "config.json": { model_type: "opt" } },
      /has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json/,
    );
  });

  it("rejects an index that is malformed or names a file outside the folder", async () => {
    const config = { "config.json": { model_type: "opt" } };
    for (const name of ["model.safetensors.index.json", "pytorch_model.bin.index.json"]) {
      await assertRefused({ ...config, [name]: {} }, new RegExp(`${name}: .*weight_map`, "s"));
      await assertRefused(
        { ...config, [name]: { weight_map: { a: "../config.json" } } },
        /names the shard ..\/config.json, which is not in the folder/,
      );
    }
  });

  it("rejects a shard that is missing, truncated or repeats a tensor of another shard", async () => {
    const files = shardedCheckpoint();
    const { "model-00002-of-00002.safetensors": second, ...rest } = files;
    await assertRefused(rest, /names the shard model-00002-of-00002.safetensors, which is not in the folder/);
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

  it("rejects a pointer of git-lfs in place of the weights, in every format", async () => {
    const { "config.json": config } = shardedCheckpoint();
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    for (const name of ["model.safetensors", "pytorch_model.bin"]) {
      const rule = /is a git-lfs pointer, not the weights; fetch them with git lfs pull$/;
      await assertRefused({ "config.json": config, [name]: pointer }, rule);
    }
  });

  it("rejects a folder with too many files in its folders", async () => {
    const files = Array.from({ length: 10_001 }, (_, i) => [`venv/${i}.py`, ""]);
    const fs = memoryFolder({ "config.json": {}, ...Object.fromEntries(files) });
    await assert.rejects(openCheckpoint(FOLDER, fs), {
      name: "ModelError",
      message:
        /^\/model: has more than 10000 files and folders in its folders; move out what does not belong/,
    });
  });

  it("rejects an unknown model family", async () => {
    const weights = { "model.safetensors": {} };
    await assertRefused(
      { ...weights, "config.json": { model_type: "t5" } },
      /model_type "t5" is not supported, .*; the supported types are: arcee/,
    );
    await assertRefused({ ...weights, "config.json": {} }, /model_type undefined is not supported/);
  });
});
