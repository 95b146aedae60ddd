/** Tests that a quantised checkpoint is written with the right `quantization_config`, and that unpacking it gives its dense weights. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { unpackCheckpoint } from "../../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import type { GridOptions } from "../../../src/tensor/quantization.ts";
import { patternTensor, readTensors, withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { type GriddedWeight, packNamed, writeQuantizedFolder } from "../../support/quantized_checkpoints.ts";
import { randomQuantized } from "../../support/quantized_weights.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const [ONE, TWO] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const FOUR: GridOptions = { bits: 4, groupSize: 6, symmetric: false };
const EIGHT: GridOptions = { bits: 8, groupSize: 0, symmetric: true };

function gridded(shape: readonly [number, number], grid: GridOptions, dtype: GriddedWeight["dtype"]) {
  return { quantized: randomQuantized(shape, grid, shape[0]), grid, dtype };
}

/** Two quantised weights, each in its own shard beside other tensors. The second has an odd number of rows and columns. */
const WEIGHTS = {
  "a.fc1.weight": gridded([10, 24], FOUR, "F16"),
  "b.fc2.weight": gridded([13, 7], EIGHT, "BF16"),
};

const DENSE = {
  [ONE]: {
    "a.fc1.weight": packNamed("a.fc1.weight", WEIGHTS["a.fc1.weight"]).dense,
    "a.fc1.bias": patternTensor("F16", [10], 1),
  },
  [TWO]: {
    "b.fc2.weight": packNamed("b.fc2.weight", WEIGHTS["b.fc2.weight"]).dense,
    "c.weight": patternTensor("F32", [3, 5], 2),
  },
};

/** Runs `body` with the folder of a quantised checkpoint, which was written from a dense one. */
function withQuantized(
  weights: Readonly<Record<string, GriddedWeight>>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const weight_map = Object.entries(DENSE).flatMap(([shard, tensors]) =>
      Object.keys(tensors).map((name) => [name, shard])
    );
    const index = { metadata: { total_size: 1 }, weight_map: Object.fromEntries(weight_map) };
    await Deno.mkdir(`${folder}/dense`);
    await writeFiles(`${folder}/dense`, {
      "config.json": { model_type: "opt", torch_dtype: "float16" },
      "model.safetensors.index.json": index,
      "tokenizer.json": "{ }\n",
      ...DENSE,
    });
    await writeQuantizedFolder(`${folder}/dense`, `${folder}/quantized`, weights);
    await body(`${folder}/quantized`);
  });
}

async function readConfig(folder: string): Promise<Record<string, unknown>> {
  return JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
}

describe("planQuantized()", () => {
  it("replaces each weight by its packed tensors in the same shard, and keeps all other tensors and files", () =>
    withQuantized(WEIGHTS, async (folder) => {
      const expected = new Map(
        Object.entries(WEIGHTS).flatMap(([name, weight]) => [...packNamed(name, weight).tensors]),
      );
      const { "a.fc1.bias": bias, "c.weight": other, ...quantized } = await readTensors(folder);
      assert.deepEqual(quantized, Object.fromEntries(expected));
      assert.deepEqual([bias, other], [DENSE[ONE]["a.fc1.bias"], DENSE[TWO]["c.weight"]]);
      assert.equal(await Deno.readTextFile(`${folder}/tokenizer.json`), "{ }\n");
      const index = JSON.parse(await Deno.readTextFile(`${folder}/model.safetensors.index.json`));
      assert.equal(index.weight_map["a.fc1.weight_zero_point"], ONE);
      assert.equal(index.weight_map["b.fc2.weight_shape"], TWO);
    }));

  it("aligns every tensor to its element size for readers that map the file into memory", () =>
    withQuantized(WEIGHTS, async (folder) => {
      for (const shard of [ONE, TWO]) {
        const { header } = decode(await Deno.readFile(`${folder}/${shard}`));
        const sizes: Record<string, number> = { I64: 8, I32: 4, F32: 4, F16: 2, BF16: 2 };
        for (const { name, dtype, begin } of header.tensors) {
          assert.equal((header.headerBytes + begin) % sizes[dtype], 0, name);
        }
      }
    }));

  it("writes one config group for all linear layers outside of the ignore list if there is one kind of grid", () =>
    withQuantized({ "a.fc1.weight": WEIGHTS["a.fc1.weight"] }, async (folder) => {
      assert.deepEqual(await readConfig(folder), {
        model_type: "opt",
        torch_dtype: "float16",
        quantization_config: {
          quant_method: "compressed-tensors",
          format: "pack-quantized",
          quantization_status: "compressed",
          config_groups: {
            group_0: {
              targets: ["Linear"],
              weights: {
                num_bits: 4,
                type: "int",
                symmetric: false,
                strategy: "group",
                group_size: 6,
                dynamic: false,
              },
              input_activations: null,
              output_activations: null,
            },
          },
          ignore: ["lm_head"],
          kv_cache_scheme: null,
        },
      });
    }));

  it("writes one config group with layer names for each kind of grid if there are several kinds", () =>
    withQuantized(WEIGHTS, async (folder) => {
      const { quantization_config: config } = await readConfig(folder);
      const { config_groups: groups } = config as { config_groups: Record<string, { targets: string[] }> };
      assert.deepEqual(Object.values(groups).map(({ targets }) => targets), [["a.fc1"], ["b.fc2"]]);
    }));
});

describe("a quantised checkpoint", () => {
  it("is unpacked to its dense weights, with the configuration of a dense checkpoint", () =>
    withQuantized(WEIGHTS, async (folder) => {
      const dense = `${folder}-dense`;
      const { unpacked } = await withCheckpoint(
        folder,
        (opened) => unpackCheckpoint(opened, dense, denoFileSystem),
      );
      assert.deepEqual(unpacked.toSorted(), Object.keys(WEIGHTS));
      assert.deepEqual(await readTensors(dense), { ...DENSE[ONE], ...DENSE[TWO] });
      assert.deepEqual(await readConfig(dense), { model_type: "opt", torch_dtype: "float16" });
    }));

  it("is refused when it is read or unpacked, if a scale makes weights NaN or infinite", () =>
    withQuantized(WEIGHTS, async (folder) => {
      const file = `${folder}/${ONE}`, { tensors } = decode(await Deno.readFile(file));
      for (const bits of [0x7e00, 0x7c00, 0x7bff]) { // NaN, infinity, and a scale of which two steps are beyond F16
        const scale = tensors.get("a.fc1.weight_scale")!, data = scale.data.slice();
        new DataView(data.buffer).setUint16(data.byteLength - 2, bits, true);
        await Deno.writeFile(file, encode(new Map(tensors).set("a.fc1.weight_scale", { ...scale, data })));
        await withCheckpoint(folder, async (opened) => {
          const message =
            /a\.fc1\.weight_packed and a\.fc1\.weight_scale make entries of row \d+ of a\.fc1\.weight NaN or infinite$/;
          await assert.rejects(unpackCheckpoint(opened, `${folder}-dense`, denoFileSystem), {
            name: "ModelError",
            message,
          });
          await assert.rejects((await openDense(opened)).read("a.fc1.weight", 0, 10 * 24 * 2), {
            message,
          });
        });
        await assert.rejects(Deno.stat(`${folder}-dense`), Deno.errors.NotFound);
      }
    }));

  it("is read as dense weights for any range of bytes", () =>
    withQuantized(WEIGHTS, (folder) =>
      withCheckpoint(folder, async (opened) => {
        const source = await openDense(opened);
        for (const [name, { data }] of Object.entries({ ...DENSE[ONE], ...DENSE[TWO] })) {
          for (const [offset, length] of [[0, data.length], [2, 8], [data.length - 3, 3], [15, 30], [5, 0]]) {
            const end = Math.min(data.length, offset + length);
            assert.deepEqual(
              await source.read(name, offset, end - offset),
              data.slice(offset, end),
              `${name} from ${offset} to ${end}`,
            );
          }
        }
        assert.ok(source.has("a.fc1.weight") && !source.has("a.fc1.weights"));
        assert.throws(() => source.info("a.fc1.weights"), { name: "ModelError", message: /has no tensor/ });
      })));
});
