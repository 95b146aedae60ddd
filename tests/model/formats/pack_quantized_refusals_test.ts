/** Tests that damaged or unsupported quantised checkpoints are rejected with the name of the tensor or of the member of config.json. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { tensorBytes } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import type { GridOptions } from "../../../src/tensor/quantization.ts";
import { readTensors, withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { packNamed, writeQuantizedFolder } from "../../support/quantized_checkpoints.ts";
import { randomQuantized } from "../../support/quantized_weights.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const GRID: GridOptions = { bits: 4, groupSize: 6, symmetric: false };
const WEIGHT = { quantized: randomQuantized([9, 24], GRID), grid: GRID, dtype: "F16" } as const;
const DENSE = { "x.weight": packNamed("x.weight", WEIGHT).dense };

/** The member `quantization_config` of config.json. */
interface Description {
  config_groups: Record<string, { weights: Record<string, unknown> }>;
}

interface Change {
  readonly tensors?: (tensors: Record<string, HostTensor>) => Record<string, HostTensor | undefined>;
  readonly description?: (description: Description) => object;
}

/** Changes a quantised checkpoint, and asserts that it cannot be opened. */
function assertRefused(change: Change, message: RegExp): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const quantized = `${folder}/quantized`;
    await Deno.mkdir(`${folder}/dense`);
    await writeFiles(`${folder}/dense`, { "config.json": {}, "model.safetensors": DENSE });
    await writeQuantizedFolder(`${folder}/dense`, quantized, { "x.weight": WEIGHT });
    const tensors = await readTensors(quantized);
    const changed = Object.entries({ ...tensors, ...change.tensors?.(tensors) });
    const { quantization_config: description } = JSON.parse(
      await Deno.readTextFile(`${quantized}/config.json`),
    );
    const quantization_config = { ...description, ...change.description?.(description) };
    await writeFiles(quantized, {
      "config.json": { quantization_config },
      "model.safetensors": Object.fromEntries(changed.filter(([, tensor]) => tensor)),
    });
    await withCheckpoint(
      quantized,
      (opened) => assert.rejects(openDense(opened), { name: "ModelError", message }),
    );
  });
}

/** Changes members of `quantization_config`. */
const described = (changes: object): Change => ({ description: () => changes });

/** Changes members of `config_groups.group_0`. */
const withGroup = (changes: object): Change => ({
  description: ({ config_groups: { group_0: group } }) => ({
    config_groups: { group_0: { ...group, ...changes } },
  }),
});

/** Changes members of `config_groups.group_0.weights`, which describes the grid of the weights. */
const withWeights = (changes: object): Change => ({
  description: ({ config_groups: { group_0: { weights, ...group } } }) => ({
    config_groups: { group_0: { ...group, weights: { ...weights, ...changes } } },
  }),
});

const without = (name: string): Change => ({ tensors: () => ({ [name]: undefined }) });

/** Gives a tensor another shape. */
const resized = (name: string, shape: readonly number[]): Change => ({
  tensors: ({ [name]: tensor }) => {
    return { [name]: { ...tensor, shape, data: new Uint8Array(tensorBytes(tensor.dtype, shape)) } };
  },
});

/** For each test, its title, and changes with the messages that they lead to. */
const REFUSED: Readonly<Record<string, readonly (readonly [change: Change, message: RegExp])[]>> = {
  "unsupported numbers of bits, types and strategies": [
    [
      withWeights({ num_bits: 1 }),
      /quantization_config\.group_0\.weights\.num_bits must be an integer from 2 to 8, not 1/,
    ],
    [withWeights({ type: "float" }), /weights\.type must be int, not "float"/],
    [withWeights({ strategy: "tensor" }), /weights\.strategy must be channel or group, not "tensor"/],
  ],
  "quantised activations, a quantised cache, an additional sparse layout, and an empty list of groups": [
    [
      withGroup({ input_activations: { num_bits: 8 } }),
      /group_0\.input_activations must be absent, not \{"num_bits":8\}/,
    ],
    [described({ kv_cache_scheme: { num_bits: 8 } }), /kv_cache_scheme must be absent, not/],
    [
      described({ sparsity_config: { format: "marlin-24" } }),
      /sparsity_config must be dense or absent, not \{"format":"marlin-24"\}/,
    ],
    [described({ config_groups: {} }), /config_groups must be an object with/],
  ],
  "a group size that contradicts the strategy or the tensors, and groups of reordered columns": (
    [
      [{ group_size: 0 }, /weights\.group_size must be a positive integer, not 0/],
      [{ group_size: null }, /weights\.group_size must be a positive integer, not null/],
      [{ group_size: 2.5 }, /weights\.group_size must be a positive integer, or absent, not 2\.5/],
      [{ group_size: 7 }, /x\.weight: .* divides the 24 columns of the weight; 7 does not/],
      [{ group_size: 8 }, /x\.weight_scale must be F16 \[9,3\], not F16 \[9,4\]/],
      [{ strategy: "channel" }, /weights\.group_size must be absent with the strategy channel, not 6/],
      [{ strategy: "channel", group_size: -1 }, /x\.weight_scale must be F16 \[9,1\], not F16 \[9,4\]/],
      [{ symmetric: true }, /has x\.weight_zero_point, although the weights of group_0 are symmetric/],
      [{ actorder: "group" }, /weights\.actorder must be weight or static or false or absent, not "group"/],
      [{ dynamic: true }, /weights\.dynamic must be false or absent, not true/],
      [{ block_structure: "2x2" }, /weights\.block_structure must be absent/],
      [{ rotation: 1 }, /group_0\.weights\.rotation is not supported; the known members are num_bits/],
    ] as const
  ).map(([changes, message]) => [withWeights(changes), message]),
  "layers that config.json does not list as quantised, or lists as ignored": [
    [withGroup({ targets: ["y", "re:.*z"] }), /x is quantised, but .*config_groups has no target for it/],
    [withGroup({ targets: ["re:("] }), /"re:\(" is not a regular expression that Pare can read/],
    ...["x", "model.x", "re:x$", "Linear"].map((name) =>
      [described({ ignore: [name] }), /x is quantised, but quantization_config\.ignore lists it/] as const
    ),
    [described({ ignore: "x" }), /ignore must be a list of names, or absent/],
    [described({ transform_config: { a: 1 } }), /transform_config must be empty or absent/],
    [described({ quantization_status: "frozen" }), /must be compressed or absent/],
    [described({ surprise: 1 }), /quantization_config\.surprise is not supported/],
  ],
  "a missing tensor": ["packed", "scale", "shape", "zero_point"].map((part) => [
    without(`x.weight_${part}`),
    new RegExp(`has no tensor x\\.weight_${part}`),
  ]),
  "tensors whose shapes contradict each other": [
    [resized("x.weight_packed", [9, 6]), /x\.weight_packed must be I32 \[9,3\], not I32 \[9,6\]/],
    [resized("x.weight_scale", [9, 5]), /x\.weight_scale must be F16 \[9,4\], not F16 \[9,5\]/],
    [resized("x.weight_scale", [8, 4]), /x\.weight_scale must be F16 \[9,4\], not F16 \[8,4\]/],
    [resized("x.weight_zero_point", [9, 4]), /x\.weight_zero_point must be I32 \[2,4\], not I32 \[9,4\]/],
  ],
  "a weight that is stored both dense and quantised, and a weight with reordered columns": [
    [{ tensors: () => DENSE }, /holds x\.weight both dense and quantised/],
    [
      { tensors: (tensors) => ({ "x.weight_g_idx": tensors["x.weight_packed"] }) },
      /x\.weight_g_idx is not supported/,
    ],
  ],
};

describe("openDense() rejects", () => {
  for (const [title, refused] of Object.entries(REFUSED)) {
    it(title, async () => {
      for (const [change, message] of refused) await assertRefused(change, message);
    });
  }
});

describe("planQuantized() rejects", () => {
  it("a weight that the layout cannot store, a missing weight, a wrong dtype, and the source as output folder", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { "config.json": {}, "model.safetensors": DENSE });
      const write = (name: string, grid: Partial<GridOptions>, to = `${folder}/out`) =>
        writeQuantizedFolder(folder, to, { [name]: { ...WEIGHT, grid: { ...GRID, ...grid } } });
      await assert.rejects(
        write("x.weight", { bits: 9 }),
        /x\.weight: pack-quantized stores 4 or 8 or .* bits, not 9/,
      );
      await assert.rejects(
        write("x.weight", { groupSize: 7 }),
        /divides the 24 columns of the weight; 7 does not/,
      );
      await assert.rejects(write("y.weight", {}), /has no tensor y\.weight/);
      await assert.rejects(write("x.weight", {}, folder), /is the checkpoint itself/);
      const other = { ...WEIGHT, dtype: "F32" } as const;
      await assert.rejects(
        writeQuantizedFolder(folder, `${folder}/out`, { "x.weight": other }),
        /x\.weight_scale: needs dtype F16, got F32/,
      );
      assert.throws(() => Deno.statSync(`${folder}/out`), Deno.errors.NotFound);
    }));
});
