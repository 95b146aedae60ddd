/** A copy of a checkpoint of every format: what was not replaced arrives bit for bit, beside files that are not weights. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { writeCheckpoint } from "../../src/checkpoint/write_checkpoint.ts";
import { decode } from "../../src/safetensors/decode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const TORCH = fileURLToPath(new URL("../fixtures/torch", import.meta.url));
const REPLACED = "model.decoder.layers.0.fc1.weight";
const OTHERS = {
  "tokenizer.json": '{"version": "1.0" }\n',
  "tokenizer_config.json": '{"add_bos_token":true}',
  "vocab.json": '{"a":0}',
  "merges.txt": "#version: 0.2\na b\r\n",
  "generation_config.json": "{ }",
};

type Tensors = ReadonlyMap<string, HostTensor>;

/** The tensors of all safetensors files in a folder. */
async function tensorsIn(folder: string, names: readonly string[]): Promise<Tensors> {
  const files = await Promise.all(names.map((name) => Deno.readFile(`${folder}/${name}`)));
  return new Map(files.flatMap((file) => [...decode(file).tensors]));
}

function listing(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

/** A checkpoint as torch.save wrote it, with other files; gives its tensors. */
async function makeSource(folder: string, fixture: string): Promise<Tensors> {
  await Deno.mkdir(folder);
  for (const name of listing(`${TORCH}/${fixture}`).filter((name) => !name.startsWith("expected"))) {
    await Deno.copyFile(`${TORCH}/${fixture}/${name}`, `${folder}/${name}`);
  }
  for (const [name, text] of Object.entries(OTHERS)) await Deno.writeTextFile(`${folder}/${name}`, text);
  return tensorsIn(`${TORCH}/${fixture}`, ["expected.safetensors"]);
}

/** Copies the checkpoint in `source` with one tensor replaced, every byte of it another; gives the copy's weight files. */
async function copy(source: string, target: string): Promise<{ shards: string[]; value: HostTensor }> {
  const checkpoint = await openCheckpoint(source, denoFileSystem);
  const old = await checkpoint.tensor(REPLACED);
  const value = { ...old, data: old.data.map((byte) => byte ^ 1) };
  const writer = await writeCheckpoint(checkpoint, target, denoFileSystem);
  await writer.replace(REPLACED, value);
  await writer.finish();
  const shards = checkpoint.shards.map((shard) => shard.name);
  await checkpoint.close();
  return { shards, value };
}

async function assertCopied(source: string, target: string, expected: Tensors): Promise<string[]> {
  const { shards, value } = await copy(source, target);
  const copied = await tensorsIn(target, shards);
  const wanted = new Map(expected).set(REPLACED, value);
  assert.deepEqual([...copied.keys()].sort(), [...wanted.keys()].sort());
  for (const [name, tensor] of wanted) assert.deepEqual(copied.get(name), tensor, name);
  for (const name of ["config.json", ...Object.keys(OTHERS)]) {
    assert.deepEqual(
      await Deno.readFile(`${target}/${name}`),
      await Deno.readFile(`${source}/${name}`),
      name,
    );
  }
  return shards;
}

describe("a copy", () => {
  for (const [fixture, shards] of [["opt", 1], ["opt-sharded", 2]] as const) {
    it(`of ${shards} pytorch_model.bin is a safetensors checkpoint, and a copy of that is the same`, () =>
      withTemporaryFolder(async (folder) => {
        const [source, first, second] = ["source", "first", "second"].map((name) => `${folder}/${name}`);
        const expected = await makeSource(source, fixture);
        const names = await assertCopied(source, first, expected);
        assert.equal(names.length, shards);
        const index = shards > 1 ? ["model.safetensors.index.json"] : [];
        assert.deepEqual(listing(first), ["config.json", ...Object.keys(OTHERS), ...names, ...index].sort());

        await assertCopied(first, second, new Map(await tensorsIn(first, names)));
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

  it("keeps scalars, empty tensors, masks and integers of every width", () =>
    withTemporaryFolder(async (folder) => {
      const [source, target] = [`${folder}/source`, `${folder}/target`];
      await Deno.mkdir(source);
      await Deno.writeTextFile(`${source}/config.json`, "{}");
      await Deno.copyFile(`${TORCH}/kinds.bin`, `${source}/pytorch_model.bin`);
      const checkpoint = await openCheckpoint(source, denoFileSystem);
      await (await writeCheckpoint(checkpoint, target, denoFileSystem)).finish();
      await checkpoint.close();
      const byName = (tensors: Tensors) => [...tensors].sort(([a], [b]) => a < b ? -1 : 1);
      assert.deepEqual(
        byName(await tensorsIn(target, ["model.safetensors"])),
        byName(await tensorsIn(TORCH, ["kinds.safetensors"])),
      );
      assert.deepEqual(listing(target), ["config.json", "model.safetensors"]);
    }));
});
