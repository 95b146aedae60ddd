/** Tests of the families with linear attention: which blocks have it, and the settings that are refused. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const none = () => false, { base: BASE } = FAMILY_MODELS.qwen3_5_text;

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
