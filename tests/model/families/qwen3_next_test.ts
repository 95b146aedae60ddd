/** Tests of the families with linear attention: their layers and tensors, and the settings that are refused. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const none = () => false, { base: BASE } = FAMILY_MODELS.qwen3_5_text;

/** Returns the shapes of the layers of block `index`, as (outputs, inputs), by their names. */
function shapesOf(settings: Readonly<Record<string, unknown>>, index: number) {
  const { groups } = readModelSpec({ ...BASE, ...settings }, none).block(index);
  return groups.map((group) =>
    Object.fromEntries(group.map(({ name, inFeatures, outFeatures }) => [name, [outFeatures, inFeatures]]))
  );
}

const MLP = [{ "mlp.gate_proj": [20, 16], "mlp.up_proj": [20, 16] }, { "mlp.down_proj": [16, 20] }];

it("a block with linear attention has layers of the stored shape, which are pruned, and a convolution, which is not", () => {
  const separate = {
    "linear_attn.in_proj_qkv": [2 * 2 * 12 + 4 * 7, 16],
    "linear_attn.in_proj_z": [4 * 7, 16],
    "linear_attn.in_proj_b": [4, 16],
    "linear_attn.in_proj_a": [4, 16],
  };
  const out = { "linear_attn.out_proj": [16, 4 * 7] };
  assert.deepEqual(shapesOf({}, 0), [separate, out, ...MLP]);
  const fused = {
    "linear_attn.in_proj_qkvz": [2 * 2 * 12 + 2 * 4 * 7, 16],
    "linear_attn.in_proj_ba": [8, 16],
  };
  const next = { model_type: "qwen3_next", num_experts: 2, num_experts_per_tok: 1, mlp_only_layers: [0] };
  assert.deepEqual(shapesOf(next, 0), [fused, out, ...MLP]);
  assert.deepEqual(readModelSpec(BASE, none).block(0).vectors, [
    { name: "linear_attn.A_log", size: 4 },
    { name: "linear_attn.dt_bias", size: 4 },
    { name: "linear_attn.conv1d.weight", size: 76 * 3, shape: [76, 1, 3] },
  ]);
});

it("a block with attention has one layer for queries and gates", () => {
  const projections = {
    "self_attn.q_proj": [2 * 4 * 8, 16],
    "self_attn.k_proj": [2 * 8, 16],
    "self_attn.v_proj": [2 * 8, 16],
  };
  assert.deepEqual(shapesOf({}, 1), [projections, { "self_attn.o_proj": [16, 4 * 8] }, ...MLP]);
});

it("the last of every four blocks has attention, unless the configuration has another rule", () => {
  const linear = (settings: Readonly<Record<string, unknown>>) => {
    const spec = readModelSpec({ ...BASE, num_hidden_layers: 6, layer_types: null, ...settings }, none);
    return Array.from({ length: 6 }, (_, index) => spec.block(index).traits?.linear !== undefined);
  };
  assert.deepEqual(linear({}), [true, true, true, false, true, true]);
  assert.deepEqual(linear({ full_attention_interval: 2 }), [true, false, true, false, true, false]);
});

testRefusedSettings("linear attention", BASE, [
  [{ linear_num_value_heads: 3 }, /linear_num_value_heads 3 is not a multiple of linear_num_key_heads 2/],
  [{ linear_key_head_dim: 257 }, /heads of 257 dimensions are not supported/],
  [{ layer_types: ["linear_attention"] }, /layer_types has 1 entries, num_hidden_layers is 2/],
  [{ layer_types: ["linear_attention", "sliding_attention"] }, /layer_types\.1: /],
]);
