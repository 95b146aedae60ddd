/** Tests copies of checkpoints in every weight format. Tensors that are not replaced, and files other than weights, must stay the same. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { openCopy } from "../../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../../src/model/checkpoint/write/write_plan.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { listNames, withTemporaryFolder } from "../../support/temporary_folder.ts";

const TORCH = fileURLToPath(new URL("../../fixtures/torch", import.meta.url));
const REPLACED = "model.decoder.layers.0.fc1.weight";
const OTHERS = {
  "tokenizer.json": '{"version": "1.0" }\n',
  "tokenizer_config.json": '{"add_bos_token":true}',
  "vocab.json": '{"a":0}',
  "merges.txt": "#version: 0.2\na b\r\n",
  "generation_config.json": "{ }",
};

type Tensors = ReadonlyMap<string, HostTensor>;

/** Reads the tensors of the safetensors files `names` in a folder. */
async function readTensors(folder: string, names: readonly string[]): Promise<Tensors> {
  const files = await Promise.all(names.map((name) => Deno.readFile(`${folder}/${name}`)));
  return new Map(files.flatMap((file) => [...decode(file).tensors]));
}

/** Makes a checkpoint from a fixture of torch files and from the files in `OTHERS`. Returns its tensors. */
async function makeSource(folder: string, fixture: string): Promise<Tensors> {
  await Deno.mkdir(folder);
  for (const name of listNames(`${TORCH}/${fixture}`).filter((name) => !name.startsWith("expected"))) {
    await Deno.copyFile(`${TORCH}/${fixture}/${name}`, `${folder}/${name}`);
  }
  for (const [name, text] of Object.entries(OTHERS)) await Deno.writeTextFile(`${folder}/${name}`, text);
  return readTensors(`${TORCH}/${fixture}`, ["expected.safetensors"]);
}

/**
 * Copies the checkpoint in `source`. One tensor is replaced by a value that differs in every byte.
 *
 * @returns the names of the copied weight files, and the new value of the tensor
 */
async function copy(source: string, target: string): Promise<{ shards: string[]; value: HostTensor }> {
  const checkpoint = await openCheckpoint(source, denoFileSystem);
  const old = await checkpoint.tensor(REPLACED);
  const value = { ...old, data: old.data.map((byte) => byte ^ 1) };
  const open = await openCopy(planCopy(checkpoint), target, denoFileSystem);
  await open.replace(REPLACED, value);
  await (await open.complete()).publish();
  const shards = checkpoint.shards.map((shard) => shard.name);
  await checkpoint.close();
  return { shards, value };
}

/** Copies a checkpoint and asserts that all tensors and files are as expected. Returns the names of the weight files. */
async function assertCopied(source: string, target: string, expected: Tensors): Promise<string[]> {
  const { shards, value } = await copy(source, target);
  const copied = await readTensors(target, shards);
  const expectedTensors = new Map(expected).set(REPLACED, value);
  assert.deepEqual([...copied.keys()].sort(), [...expectedTensors.keys()].sort());
  for (const [name, tensor] of expectedTensors) assert.deepEqual(copied.get(name), tensor, name);
  for (const name of ["config.json", ...Object.keys(OTHERS)]) {
    assert.deepEqual(
      await Deno.readFile(`${target}/${name}`),
      await Deno.readFile(`${source}/${name}`),
      name,
    );
  }
  return shards;
}

describe("a copy of a checkpoint", () => {
  for (const [fixture, shards] of [["opt", 1], ["opt-sharded", 2]] as const) {
    it(`in ${shards} torch ${shards > 1 ? "files" : "file"} is a safetensors checkpoint, and a copy of the copy has the same layout`, () =>
      withTemporaryFolder(async (folder) => {
        const [source, first, second] = ["source", "first", "second"].map((name) => `${folder}/${name}`);
        const expected = await makeSource(source, fixture);
        const names = await assertCopied(source, first, expected);
        assert.equal(names.length, shards);
        const index = shards > 1 ? ["model.safetensors.index.json"] : [];
        assert.deepEqual(
          listNames(first),
          ["config.json", ...Object.keys(OTHERS), ...names, ...index].sort(),
        );

        await assertCopied(first, second, new Map(await readTensors(first, names)));
        for (const name of [...names, ...index]) {
          const [before, after] = await Promise.all(
            [first, second].map((of) => Deno.readFile(`${of}/${name}`)),
          );
          const differing = before.reduce((sum, byte, i) => sum + Number(byte !== after[i]), 0);
          const replaced = name.endsWith(".safetensors") ? decode(before).tensors.get(REPLACED) : undefined;
          assert.equal(before.length, after.length);
          assert.equal(differing, replaced?.data.byteLength ?? 0, name);
        }
      }));
  }

  it("preserves scalars, empty tensors, masks and integers of every width", () =>
    withTemporaryFolder(async (folder) => {
      const [source, target] = [`${folder}/source`, `${folder}/target`];
      await Deno.mkdir(source);
      await Deno.writeTextFile(`${source}/config.json`, "{}");
      await Deno.copyFile(`${TORCH}/kinds.bin`, `${source}/pytorch_model.bin`);
      const checkpoint = await openCheckpoint(source, denoFileSystem);
      const open = await openCopy(planCopy(checkpoint), target, denoFileSystem);
      await (await open.complete()).publish();
      await checkpoint.close();
      const byName = (tensors: Tensors) => [...tensors].sort(([a], [b]) => a < b ? -1 : 1);
      assert.deepEqual(
        byName(await readTensors(target, ["model.safetensors"])),
        byName(await readTensors(TORCH, ["kinds.safetensors"])),
      );
      assert.deepEqual(listNames(target), ["config.json", "model.safetensors"]);
    }));
});
