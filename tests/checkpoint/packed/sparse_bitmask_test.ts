/** Tests that the layout sparse-bitmask is the one of the compressed-tensors library, and that unpacking restores every bit. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { packCheckpoint } from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import { PACKING_STRIP_BYTES } from "../../../src/checkpoint/packed/row_strips.ts";
import { unpackCheckpoint } from "../../../src/checkpoint/packed/unpack_checkpoint.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { rowOffsets } from "../../reference/bitmask.ts";
import { patternTensor, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { decodePacked, readTensors, sparseWeight, withCheckpoint } from "./packed_checkpoints.ts";
import { roundTrip, roundTripWeight, stack, words } from "./round_trip.ts";

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

async function digest(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())).toHex();
}
