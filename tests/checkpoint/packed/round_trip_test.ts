/**
 * Tests that packing writes the layout of the compressed-tensors library, and that unpacking restores the
 * checkpoint bit for bit.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import {
  packCheckpoint,
  type PackOptions,
  type PackResult,
} from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import { PACKING_STRIP_BYTES } from "../../../src/checkpoint/packed/row_strips.ts";
import { unpackCheckpoint } from "../../../src/checkpoint/packed/unpack_checkpoint.ts";
import { openModel } from "../../../src/models/model.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { rowOffsets } from "../../reference/bitmask.ts";
import { patternTensor, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import {
  decodePacked,
  readTensors,
  sparseWeight,
  twoFourWeight,
  withCheckpoint,
} from "./packed_checkpoints.ts";

interface Packed {
  readonly tensors: Record<string, HostTensor>;
  readonly config: { readonly quantization_config: { readonly sparsity_config: Record<string, unknown> } };
  readonly result: PackResult;
  /** The tensors after unpacking. */
  readonly dense: Record<string, HostTensor>;
}

/** Packs a checkpoint that consists of `files`, and unpacks it again. */
function roundTrip(files: Record<string, string | object>, options: PackOptions): Promise<Packed> {
  return withTemporaryFolder(async (folder) => {
    const [source, packed, dense] = ["source", "packed", "dense"].map((name) => `${folder}/${name}`);
    await Deno.mkdir(source);
    await writeFiles(source, { "config.json": { model_type: "opt", torch_dtype: "float16" }, ...files });
    const result = await withCheckpoint(
      source,
      (opened) => packCheckpoint(opened, packed, denoFileSystem, options),
    );
    await withCheckpoint(packed, (opened) => unpackCheckpoint(opened, dense, denoFileSystem));
    const config = JSON.parse(await Deno.readTextFile(`${packed}/config.json`));
    const before = JSON.parse(await Deno.readTextFile(`${source}/config.json`));
    assert.deepEqual(JSON.parse(await Deno.readTextFile(`${dense}/config.json`)), before);
    return { tensors: await readTensors(packed), config, result, dense: await readTensors(dense) };
  });
}

/** Packs and unpacks a weight beside other tensors, and asserts that it is restored. */
async function roundTripWeight(weight: HostTensor, format: PackOptions["format"]): Promise<Packed> {
  const others = { "a.bias": patternTensor("F16", [3], 5), "b.norm.weight": patternTensor("F32", [5], 6) };
  const before: Record<string, HostTensor> = { ...others, "block.fc1.weight": weight };
  const packed = await roundTrip({ "model.safetensors": before }, { format });
  assert.deepEqual(packed.result.packed, ["block.fc1.weight"]);
  assert.deepEqual(packed.dense, before);
  assert.deepEqual(decodePacked(packed.tensors, "block.fc1.weight"), Uint8Array.from(weight.data));
  return packed;
}

function words(tensor: HostTensor, values: readonly number[]): HostTensor {
  const data = new Uint8Array((tensor.dtype === "F32" ? Uint32Array : Uint16Array).from(values).buffer);
  return { ...tensor, data };
}

describe("pack as sparse-bitmask", () => {
  for (const dtype of ["F32", "F16", "BF16"] satisfies FloatDtype[]) {
    for (const cols of [8, 13, 64, 257]) {
      it(`restores ${dtype} weights with ${cols} columns`, async () => {
        await roundTripWeight(sparseWeight(dtype, [40, cols], 0.6), "bitmask");
      });
    }
  }

  it("writes the parts and the configuration that the library reads", async () => {
    const weight = words({ dtype: "F16", shape: [3, 10], data: new Uint8Array() }, [
      ...[0, 0x3c00, 0, 0, 0, 0, 0, 0xbc00, 0, 0x7e01],
      ...Array(10).fill(0),
      ...[0x0001, ...Array(9).fill(0)],
    ]);
    const others = Object.fromEntries(
      Array.from({ length: 3 }, (_, i) => [`l${i}.weight`, sparseWeight("F16", [64, 64], 0.5, i)]),
    );
    const { tensors, config } = await roundTrip(
      { "model.safetensors": { ...others, "m.big.weight": stack(weight, 40) } },
      { format: "bitmask" },
    );
    const bitmask = tensors["m.big.bitmask"];
    assert.deepEqual([bitmask.dtype, bitmask.shape], ["U8", [120, 2]]);
    assert.deepEqual([...bitmask.data.slice(0, 6)], [0b10000010, 0b10, 0, 0, 0b1, 0]);
    assert.deepEqual([...new Uint16Array(tensors["m.big.compressed"].data.slice(0, 8).buffer)], [
      ...[0x3c00, 0xbc00, 0x7e01, 0x0001],
    ]);
    assert.deepEqual(tensors["m.big.compressed"].shape, [160]);
    assert.deepEqual(tensors["m.big.shape"], {
      dtype: "I64",
      shape: [2],
      data: new Uint8Array(BigInt64Array.of(120n, 10n).buffer),
    });
    const offsets = new BigInt64Array(tensors["m.big.row_offsets"].data.slice().buffer);
    assert.deepEqual([...offsets], rowOffsets(bitmask));
    const { sparsity_config: sparsity, ...rest } = config.quantization_config;
    assert.deepEqual(rest, { quant_method: "compressed-tensors" });
    assert.deepEqual({ ...sparsity, global_sparsity: 0 }, {
      format: "sparse-bitmask",
      global_sparsity: 0,
      ignore: [],
      registry_requires_subclass: false,
      sparsity_structure: "unstructured",
      targets: ["l0", "l1", "l2", "m.big"],
    });
    // global_sparsity is a fraction between 0 and 1, not a percentage.
    const stored = ["l0", "l1", "l2", "m.big"].reduce(
      (sum, stem) => sum + tensors[`${stem}.compressed`].shape[0],
      0,
    );
    assert.equal(sparsity.global_sparsity, 1 - stored / (3 * 64 * 64 + 120 * 10));
    assert.ok(Number(sparsity.global_sparsity) > 0.48 && Number(sparsity.global_sparsity) < 0.54);
  });

  it("preserves the bits of −0, subnormals, infinities and NaN payloads", async () => {
    const kept = [0x8000, 0x0001, 0x7c00, 0xfc00, 0x7e55, 0xfdff, 0x3c00];
    const values = Array.from({ length: 32 * 16 }, (_, i) => i % 3 === 0 ? kept[i % kept.length] : 0);
    const { tensors } = await roundTripWeight(
      words({ dtype: "BF16", shape: [32, 16], data: new Uint8Array() }, values),
      "bitmask",
    );
    const stored = new Uint16Array(tensors["block.fc1.compressed"].data.slice().buffer);
    assert.equal(
      stored.filter((word) => word === 0x8000).length,
      values.filter((word) => word === 0x8000).length,
    );
  });

  it("packs a weight that is too large for one strip of rows in several strips", async () => {
    const weight = sparseWeight("F16", [2100, 4100], 0.6);
    assert.ok(weight.data.length > PACKING_STRIP_BYTES);
    const { tensors, dense } = await roundTrip({ "model.safetensors": { "x.weight": weight } }, {
      format: "bitmask",
    });
    const bytes = [weight.data, dense["x.weight"].data, decodePacked(tensors, "x.weight")];
    const [before, after, decoded] = await Promise.all(bytes.map(digest));
    assert.equal(after, before);
    assert.equal(decoded, before);
  });

  it("packs a weight that consists of zeros only", async () => {
    const zeros: HostTensor = { dtype: "F32", shape: [5, 33], data: new Uint8Array(5 * 33 * 4) };
    const { tensors } = await roundTripWeight(zeros, "bitmask");
    assert.deepEqual(tensors["block.fc1.compressed"].shape, [0]);
  });

  it("unpacks weights whose parts have the names of older versions of the library", () =>
    withTemporaryFolder(async (folder) => {
      const weights = { "w.weight": sparseWeight("F32", [9, 13], 0.7) };
      await Deno.mkdir(`${folder}/source`);
      await writeFiles(`${folder}/source`, { "config.json": {}, "model.safetensors": weights });
      await withCheckpoint(
        `${folder}/source`,
        (opened) => packCheckpoint(opened, `${folder}/packed`, denoFileSystem, { format: "bitmask" }),
      );
      const parts = Object.entries(await readTensors(`${folder}/packed`));
      const renamed = Object.fromEntries(
        parts.map(([name, part]) => [name.replace("w.", "w.weight."), part]),
      );
      await writeFiles(`${folder}/packed`, { "model.safetensors": renamed });
      await withCheckpoint(
        `${folder}/packed`,
        (opened) => unpackCheckpoint(opened, `${folder}/dense`, denoFileSystem),
      );
      assert.deepEqual(await readTensors(`${folder}/dense`), weights);
    }));

  it("aligns every tensor to its element size for readers that map the file into memory", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.mkdir(`${folder}/source`);
      await writeFiles(`${folder}/source`, {
        "config.json": {},
        "model.safetensors": {
          odd: patternTensor("F16", [3], 1),
          "w.weight": sparseWeight("F32", [9, 13], 0.7),
        },
      });
      await withCheckpoint(
        `${folder}/source`,
        (opened) => packCheckpoint(opened, `${folder}/packed`, denoFileSystem, { format: "bitmask" }),
      );
      const { header } = decode(await Deno.readFile(`${folder}/packed/model.safetensors`));
      assert.deepEqual(header.tensors.map(({ dtype }) => dtype), ["I64", "I64", "F32", "F16", "U8"]);
      assert.equal(header.headerBytes % 8, 0);
    }));
});

describe("pack as sparse-24-bitmask", () => {
  for (const dtype of ["F32", "F16", "BF16"] satisfies FloatDtype[]) {
    for (const cols of [4, 12, 64]) {
      it(`restores ${dtype} weights with ${cols} columns`, async () => {
        const { tensors, config } = await roundTripWeight(twoFourWeight(dtype, [40, cols]), "sparse-24");
        assert.deepEqual(tensors["block.fc1.compressed"].shape, [40, cols / 2]);
        assert.deepEqual(tensors["block.fc1.shape"].shape, [2, 1]);
        assert.equal(tensors["block.fc1.row_offsets"], undefined);
        const { format, sparsity_structure } = config.quantization_config.sparsity_config;
        assert.deepEqual([format, sparsity_structure], ["sparse-24-bitmask", "2:4"]);
      });
    }
  }

  it("stores the same zeros as PyTorch's topk in groups with fewer than two non-zero entries", async () => {
    // Each pair has the mask of `x != 0` and the mask of `x.abs().topk(2)` for a group x of four entries,
    // computed with torch 2.6.
    const groups = [[0b0000, 0b1100], [0b0001, 0b0101], [0b0010, 0b1010], [0b0100, 0b1100], [0b1000, 0b1100]];
    const values = groups.flatMap(([set]) => [0, 1, 2, 3].map((bit) => set >> bit & 1 ? 0x3c00 + bit : 0));
    const one: HostTensor = words({ dtype: "F16", shape: [1, 20], data: new Uint8Array() }, values);
    const { tensors } = await roundTripWeight(stack(one, 12), "sparse-24");
    const [a, b, c] = tensors["block.fc1.bitmask"].data;
    assert.deepEqual([a & 15, a >> 4, b & 15, b >> 4, c], groups.map(([, completed]) => completed));
  });

  it("skips weights that are not 2:4, and rejects them if they are requested by name", async () => {
    const weights = {
      "a.weight": sparseWeight("F16", [16, 32], 0.5),
      "b.weight": twoFourWeight("F16", [16, 32]),
    };
    const { result } = await roundTrip({ "model.safetensors": weights }, { format: "sparse-24" });
    assert.deepEqual(result.packed, ["b.weight"]);
    const asked = roundTrip({ "model.safetensors": weights }, { format: "sparse-24", weights: ["a.weight"] });
    await assert.rejects(asked, {
      name: "ModelError",
      message:
        /a\.weight is not 2:4: row \d+ has more than two entries that are not \+0 in columns \d+ to \d+/,
    });
  });

  it("rejects a group with −0 and two other non-zero entries, which the layout cannot store", async () => {
    const values = [0x3c00, 0x8000, 0x3c00, 0, ...Array(60).fill(0)];
    const weight = words({ dtype: "F16", shape: [8, 8], data: new Uint8Array() }, values);
    await assert.rejects(
      roundTripWeight(weight, "sparse-24"),
      /row 0 has more than two .* in columns 0 to 3/,
    );
  });

  it("rejects a weight whose number of columns is not a multiple of four", async () => {
    const weight = sparseWeight("F16", [8, 6], 1);
    await assert.rejects(roundTripWeight(weight, "sparse-24"), /its 6 columns are not a multiple of 4/);
  });
});

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

async function digest(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())).toHex();
}

/** Repeats the rows of a matrix `times` times. */
function stack({ dtype, shape: [rows, cols], data }: HostTensor, times: number): HostTensor {
  const bytes = new Uint8Array(data.length * times);
  for (let i = 0; i < times; i++) bytes.set(data, i * data.length);
  return { dtype, shape: [rows * times, cols], data: bytes };
}

function sizes(folder: string, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + Deno.statSync(`${folder}/${name}`).size, 0);
}
