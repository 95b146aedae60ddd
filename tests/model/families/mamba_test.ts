/** Tests of the families with Mamba 2: the forms of their settings, and the settings that are refused. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { readConfigText } from "../../../src/model/checkpoint/checkpoint.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import type { BlockSpec } from "../../../src/model/families/family.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const none = () => false;
const { granitemoehybrid: { base: GRANITE }, nemotron_h: { base: NEMOTRON } } = FAMILY_MODELS;

/** Returns the shapes of the layers of a block, as (outputs, inputs), by their names. */
function shapesOf({ groups }: BlockSpec) {
  return groups.map((group) =>
    Object.fromEntries(group.map(({ name, inFeatures, outFeatures }) => [name, [outFeatures, inFeatures]]))
  );
}

it("the blocks of Nemotron-H follow either form of their list, and have one norm each", () => {
  const pattern = { layers_block_type: undefined, hybrid_override_pattern: "M-*E" };
  const older = { layers_block_type: ["mamba", "mlp", "attention", "moe"] };
  const blocksOf = (settings: object) => {
    const { blockCount, block } = readModelSpec({ ...NEMOTRON, ...settings }, none);
    return Array.from({ length: blockCount }, (_, index) => block(index));
  };
  const blocks = blocksOf({}), shapes = blocks.map(shapesOf);
  for (const settings of [pattern, older]) assert.deepEqual(blocksOf(settings).map(shapesOf), shapes);
  assert.deepEqual(shapes.map((groups) => Object.keys(groups[0])), [
    ["mixer.in_proj"],
    ["mixer.up_proj"],
    ["mixer.q_proj", "mixer.k_proj", "mixer.v_proj"],
    ["mixer.experts.0.up_proj"],
  ]);
  assert.deepEqual(blocks.map(({ norms }) => norms.filter(({ affine }) => affine).map(({ name }) => name)), [
    ...Array(4).fill(["norm"]),
  ]);
});

it("the limit of steps can be the number Infinity of Python, which is not JSON", () =>
  withTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(
      `${folder}/config.json`,
      `{"a": "Infinity", "time_step_limit": [\n 0.0,\n Infinity\n]}`,
    );
    const config = JSON.parse(await readConfigText(denoFileSystem, folder));
    assert.deepEqual(config, { a: "Infinity", time_step_limit: [0, { __float__: "Infinity" }] });
    readModelSpec({ ...GRANITE, ...config }, none);
  }));

it("a config.json that begins the limit of steps 20,000 times is read within a second", () =>
  withTemporaryFolder(async (folder) => {
    const text = '"time_step_limit":['.repeat(20_000);
    await Deno.writeTextFile(`${folder}/config.json`, text);
    const start = performance.now();
    assert.equal(await readConfigText(denoFileSystem, folder), text);
    const milliseconds = performance.now() - start;
    assert.ok(milliseconds < 1000, `${milliseconds} ms`);
  }));

testRefusedSettings("granitemoehybrid", GRANITE, [
  [
    { mamba_n_heads: 5 },
    /mamba_n_heads 5 of 8 dimensions is not supported, must have mamba_expand 2 · hidden_size 16/,
  ],
  [{ mamba_d_head: "auto", mamba_n_heads: 3 }, /mamba_n_heads 3 of 10 dimensions is not supported/],
  [{ mamba_n_groups: 3 }, /4 heads of Mamba 2 cannot share 3 groups equally/],
  [{ mamba_d_state: 257 }, /heads of 257 dimensions are not supported/],
  [{ layer_types: ["mamba"] }, /layer_types has 1 entries, num_hidden_layers is 2/],
  [{ layer_types: ["mamba", "sliding_attention"] }, /layer_types\.1: /],
]);

testRefusedSettings("nemotron_h", NEMOTRON, [
  [{ mamba_head_dim: 2 ** 18 + 1 }, /heads of 262145 dimensions .* limit is 262144/],
  [{ layers_block_type: [] }, /layers_block_type: /],
  [{ layers_block_type: null, hybrid_override_pattern: "MX" }, /hybrid_override_pattern: /],
  [{ num_key_value_heads: 3 }, /num_attention_heads 4 is not a multiple of num_key_value_heads 3/],
  [{ moe_latent_size: 8 }, /moe_latent_size: /],
]);
