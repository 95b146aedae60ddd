/** Tests mixtures whose checkpoint has one tensor for all experts: they must be pruned and written like those with one tensor per expert. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { copyDestination } from "../../../scripts/prune/write_pruned.ts";
import { denoFileSystem as fs } from "../../../src/cli/files/deno_file_system.ts";
import { unpackCheckpoint } from "../../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { openCopy } from "../../../src/model/checkpoint/write/open_copy.ts";
import { planCopy, planLayout } from "../../../src/model/checkpoint/write/write_plan.ts";
import type { Shard } from "../../../src/model/checkpoint/weight_files.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { DevicePruner } from "../../../src/prune/device_pruner.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import { shrinkModel } from "../../../src/prune/shrink/shrink_model.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { assertSame } from "../../support/assert_same.ts";
import { patternTensor, withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import type { Backend } from "../../../src/device/backend.ts";
import { FAMILY_FIXTURES, readFamilyFixture } from "../../support/family_fixtures.ts";
import { fuseExperts, readFixtureTensors, writeFused } from "../../support/fused_experts.ts";
import { STORED_CASES } from "../../support/stored_cases.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const SHARDS = ["model-1.safetensors", "model-2.safetensors"];
const folder = temporaryFolder();

/** Reads the tensors that are stored in the shards of a checkpoint. */
async function storedTensors(path: string, shards = SHARDS) {
  const files = await Promise.all(shards.map((shard) => Deno.readFile(`${path}/${shard}`)));
  return Object.fromEntries(files.flatMap((file) => [...decode(file).tensors]));
}

for (const family of ["qwen3_moe", "mixtral"]) {
  describe(`${family} with one tensor for all experts`, () => {
    const source = `${folder}/${family}`;
    let backend: Backend;
    before(async () => {
      backend = await createCpuBackend();
      await writeFused(family, source);
    });
    after(() => backend.dispose());

    it("has a tensor of each layer of each expert", async () => {
      await withCheckpoint(source, async (checkpoint) => {
        for (const [name, tensor] of await readFixtureTensors(family)) {
          const renamed = name.replace("block_sparse_moe", "mlp").replace("w1", "gate_proj")
            .replace("w2", "down_proj").replace("w3", "up_proj");
          assert.deepEqual(await checkpoint.tensor(renamed), tensor, name);
        }
      });
    });

    it("is pruned to the same weights as with one tensor per layer and expert", async () => {
      const { windows } = await readFamilyFixture(family);
      const prune = async (path: string, out: string) => {
        await using opened = await openModelFolder(path, fs);
        const destination = copyDestination(opened.checkpoint, out, false),
          queryOf = () => ({ sparsity: 0.5 });
        await pruneModel({ model: opened.model, windows, queryOf, destination }, {
          backend,
          pruner: new DevicePruner(backend),
        });
      };
      await prune(source, `${source} pruned`);
      await prune(FAMILY_FIXTURES + family, `${source} separate`);
      const separate = decode(await Deno.readFile(`${source} separate/model.safetensors`)).tensors;
      assertSame(await storedTensors(`${source} pruned`), fuseExperts(separate));
      for (const name of ["config.json", "model.safetensors.index.json"]) {
        assert.equal(
          await Deno.readTextFile(`${source} pruned/${name}`),
          await Deno.readTextFile(`${source}/${name}`),
        );
      }
    });

    it("loses experts and stays in one tensor for all experts", async () => {
      const { windows } = await readFamilyFixture(family), out = `${source} shrunk`;
      const job = {
        windows,
        validationWindows: [],
        fingerprint: {},
        reportFileNames: [],
        reportFiles: () => Promise.resolve(new Map()),
      };
      const shrink = async (path: string, out: string) => {
        await using opened = await openModelFolder(path, fs);
        const { checkpoint, model } = opened, kept = { experts: 3 };
        await shrinkModel({ ...job, checkpoint, model, out, kept, blocks: 0 }, {
          fs,
          backend,
          pruner: new DevicePruner(backend),
        });
      };
      await shrink(source, out);
      await shrink(FAMILY_FIXTURES + family, `${out} separate`);
      const separate = decode(await Deno.readFile(`${out} separate/model.safetensors`)).tensors;
      const shrunk = await storedTensors(out);
      assertSame(shrunk, fuseExperts(separate));
      assert.equal(shrunk["model.layers.1.mlp.experts.down_proj"].shape[0], 3);
      const index = JSON.parse(await Deno.readTextFile(`${out}/model.safetensors.index.json`));
      assert.deepEqual(Object.keys(index.weight_map), Object.keys(shrunk).sort());
    });
  });
}

describe("weights of experts that are stored as (inputs, outputs)", () => {
  const source = `${folder}/transposed`, mixture = "model.layers.0.mlp.experts";
  const tensors = {
    [`${mixture}.gate_up_proj`]: patternTensor("BF16", [3, 4, 10], 1),
    [`${mixture}.gate_up_proj_bias`]: patternTensor("BF16", [3, 10], 2),
    [`${mixture}.down_proj`]: patternTensor("BF16", [3, 5, 4], 3),
    [`${mixture}.down_proj_bias`]: patternTensor("BF16", [3, 4], 4),
  };
  before(async () => {
    await Deno.mkdir(source);
    await writeFiles(source, { "config.json": {}, "model.safetensors": tensors });
  });

  it("have one layer for gate and up", () =>
    withCheckpoint(source, async (checkpoint) => {
      assert.deepEqual(
        [...checkpoint.names()].filter((name) => name.startsWith(`${mixture}.1.`)).map((name) => [
          name.slice(mixture.length),
          checkpoint.info(name).shape,
        ]),
        [
          [".1.gate_up_proj.weight", [4, 10]],
          [".1.gate_up_proj.bias", [10]],
          [".1.down_proj.weight", [5, 4]],
          [".1.down_proj.bias", [4]],
        ],
      );
      const { data } = await checkpoint.tensor(`${mixture}.2.down_proj.weight`);
      assert.deepEqual(data, tensors[`${mixture}.down_proj`].data.slice(2 * 40));
    }));

  it("are replaced one by one, also if a later process continues", () =>
    withCheckpoint(source, async (checkpoint) => {
      const name = `${mixture}.1.down_proj.weight`, value = patternTensor("BF16", [5, 4], 9);
      const out = `${source} continued`, first = await openCopy(planCopy(checkpoint), out, fs);
      const digest = await first.replace(name, value);
      await first.sync(name);
      await first.close();
      const second = await openCopy(planCopy(checkpoint), out, fs, { replaced: new Map([[name, digest]]) });
      await (await second.complete()).publish();
      const down = tensors[`${mixture}.down_proj`], data = down.data.slice();
      data.set(value.data, 40);
      const stored = await storedTensors(out, ["model.safetensors"]);
      assert.deepEqual(stored, { ...tensors, [`${mixture}.down_proj`]: { ...down, data } });
    }));

  it("are written with another layout if all slices have the same dtype, and refused otherwise", () =>
    withCheckpoint(source, async (checkpoint) => {
      const plan = (changed: string) =>
        planLayout(checkpoint, fs, {
          config: {},
          tensors: checkpoint,
          tensorsOf: ({ header }) =>
            header.tensors.map((info) => info.name === changed ? { ...info, dtype: "F32" } : info),
        });
      const copy = await openCopy(plan(""), `${source} copy`, fs);
      await (await copy.complete()).publish();
      assert.deepEqual(await storedTensors(`${source} copy`, ["model.safetensors"]), tensors);
      assert.throws(() => plan(`${mixture}.1.down_proj.weight`), {
        name: "ModelError",
        message:
          `tensor ${mixture}.down_proj: needs BF16 [5,4] for ${mixture}.1.down_proj.weight, which is F32 [5,4]`,
      });
    }));
});

it("a file in which other experts are stored one by one is copied as it is, and cannot be laid out anew", async () => {
  const source = `${folder}/both`,
    out = `${source} copy`,
    alone = "model.layers.1.mlp.experts.0.down_proj.weight";
  const tensors = {
    "model.layers.0.mlp.experts.down_proj": patternTensor("BF16", [3, 5, 4], 1),
    [alone]: patternTensor("BF16", [5, 4], 2),
  };
  await Deno.mkdir(source);
  await writeFiles(source, { "config.json": {}, "model.safetensors": tensors });
  await withCheckpoint(source, async (checkpoint) => {
    const copy = await openCopy(planCopy(checkpoint), out, fs);
    await (await copy.complete()).publish();
    assert.deepEqual(await storedTensors(out, ["model.safetensors"]), tensors);
    const tensorsOf = ({ header }: Shard) => header.tensors;
    assert.throws(() => planLayout(checkpoint, fs, { config: {}, tensors: checkpoint, tensorsOf }), {
      name: "ModelError",
      message: `model.safetensors: stores all experts of one block in one tensor, but ${alone} alone, ` +
        "so the file cannot be laid out anew",
    });
  });
});

for (
  const { title, config, tensors, weights } of STORED_CASES.filter(({ title }) => /fused experts/.test(title))
) {
  describe(`codes of all experts in one tensor: ${title}`, () => {
    const source = `${folder}/${title}`, mixture = "model.layers.0.mlp.experts";
    const [[name, { dtype, data, shape: [experts, ...shape] }]] = Object.entries(weights);
    const renamed = (all: typeof tensors) =>
      Object.fromEntries(Object.entries(all).map(([name, tensor]) => [`model.layers.0.mlp.${name}`, tensor]));
    const biases = { [`${mixture}.down_proj_bias`]: patternTensor("BF16", [3, 10], 4) };
    before(async () => {
      await Deno.mkdir(source);
      await writeFiles(source, {
        "config.json": config,
        "model.safetensors": { ...renamed(tensors), ...biases },
      });
    });

    it("have a dense tensor of each expert, and one tensor for all experts in a dense copy", () =>
      withCheckpoint(source, async (stored) => {
        const checkpoint = await openDense(stored), layer = name.slice("experts.".length);
        for (let expert = 0; expert < experts; expert++) {
          const bytes = data.length / experts;
          const tensor = await checkpoint.tensor(`${mixture}.${expert}.${layer}.weight`);
          assertSame(tensor, {
            dtype,
            shape,
            data: data.slice(expert * bytes, (expert + 1) * bytes),
          });
        }
        await unpackCheckpoint(stored, `${source} dense`, fs);
        assertSame(await storedTensors(`${source} dense`, ["model.safetensors"]), {
          ...renamed(weights),
          ...biases,
        });
      }));
  });
}

it("the experts of Granite 4 are slices of tensors without `.experts` in their names, and are laid out anew", async () => {
  const source = `${folder}/granite`, out = `${source} copy`, mixture = "model.layers.0.block_sparse_moe";
  const tensors = {
    [`${mixture}.input_linear.weight`]: patternTensor("BF16", [3, 10, 4], 1),
    [`${mixture}.output_linear.weight`]: patternTensor("BF16", [3, 4, 5], 2),
    [`${mixture}.router.layer.weight`]: patternTensor("BF16", [3, 4], 3),
  };
  await Deno.mkdir(source);
  await writeFiles(source, { "config.json": {}, "model.safetensors": tensors });
  await withCheckpoint(source, async (checkpoint) => {
    assert.deepEqual(checkpoint.info(`${mixture}.experts.2.input_linear.weight`).shape, [10, 4]);
    const { data } = await checkpoint.tensor(`${mixture}.experts.1.output_linear.weight`);
    assert.deepEqual(data, tensors[`${mixture}.output_linear.weight`].data.slice(40, 80));
    const tensorsOf = ({ header }: Shard) => header.tensors;
    const copy = await openCopy(
      planLayout(checkpoint, fs, { config: {}, tensors: checkpoint, tensorsOf }),
      out,
      fs,
    );
    await (await copy.complete()).publish();
    assert.deepEqual(await storedTensors(out, ["model.safetensors"]), tensors);
  });
});
