/** Tests which units the families can lose, and their configurations. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import { MODEL_TYPES, readModelSpec } from "../../../src/model/families/families.ts";
import type { ModelSpec } from "../../../src/model/families/family.ts";
import {
  countKept,
  keptSettings,
  readingLayers,
  readUnits,
  requireShrinkable,
  type UnitKind,
} from "../../../src/prune/shrink/units.ts";
import { configWithoutBlocks } from "../../../src/prune/shrink/without_blocks.ts";

const SIZES = {
  ...{
    vocab_size: 23,
    hidden_size: 24,
    intermediate_size: 40,
    num_hidden_layers: 2,
    max_position_embeddings: 64,
  },
  ...{ num_attention_heads: 6, num_key_value_heads: 3, head_dim: 8 },
};
const LLAMA = { ...SIZES, model_type: "llama" };
const MIXTRAL = { ...SIZES, model_type: "mixtral", num_local_experts: 6, num_experts_per_tok: 2 };

function specOf(config: Record<string, unknown>): ModelSpec {
  return readModelSpec(config, () => false);
}

it("readUnits() refuses other families by name, with a reason if there is one", () => {
  const refusals: [string, UnitKind, string][] = [
    ["gpt2", "neurons", "neurons, because its weights are stored transposed"],
    ["bloom", "neurons", "neurons, because its feed-forward networks always have 4 · hidden_size neurons"],
    ["olmoe", "neurons", "neurons, because its neurons belong to experts, which --experts removes"],
    ["qwen2", "heads", "heads, because its configuration has no setting for the size of a head"],
    ["opt", "heads", "heads, because its configuration has no setting for the size of a head"],
    ["olmo3", "heads", "heads, because its norms of queries and keys are over all heads of a token"],
    ["olmoe", "heads", "heads, because its norms of queries and keys are over all heads of a token"],
    ["toString", "heads", "heads"],
    ["llama", "experts", "experts"],
  ];
  const types = {
    neurons:
      "arcee, cohere2, ernie4_5, exaone4, falcon, gemma, gemma2, gemma3_text, glm4, gpt_neox, granite, llama, " +
      "ministral3, mistral, olmo2, olmo3, opt, phi, phi3, qwen2, qwen3, seed_oss, smollm3, starcoder2",
    heads:
      "arcee, ernie4_5, gemma, gemma2, gemma3_text, llama, ministral3, mistral, mixtral, qwen3, qwen3_moe, seed_oss",
    experts: "mixtral, olmoe, qwen3_moe",
  };
  for (const [model_type, kind, problem] of refusals) {
    assert.throws(() => readUnits(kind, { model_type }, specOf(LLAMA)), {
      name: "ModelError",
      message:
        `config.json: a model of model_type "${model_type}" cannot lose ${problem}; the types that can are: ${
          types[kind]
        }`,
    });
  }
  for (const model_type of ["bloom", "gpt_oss", "granitemoehybrid", ...MODEL_TYPES.multimodal]) {
    assert.throws(
      () => requireShrinkable({ model_type }, specOf(LLAMA)),
      new RegExp(`"${model_type}" cannot be shrunk; the types that can are: arcee,`),
    );
  }
  const mixture = { ...FAMILY_MODELS.qwen3_moe.base, mlp_only_layers: [1] };
  assert.throws(
    () => requireShrinkable(mixture, specOf(mixture)),
    /a model in which some blocks have no experts cannot be shrunk/,
  );
});

it("countKept() rounds to a multiple, and refuses a share that removes nothing", () => {
  const neurons = readUnits("neurons", LLAMA, specOf(LLAMA));
  assert.equal(countKept("neurons", neurons, 0.5, 8), 24);
  assert.equal(countKept("neurons", neurons, 0.99, 8), 8);
  assert.throws(() => countKept("neurons", neurons, 0.05, 8), {
    name: "RangeError",
    message:
      "option --ffn 0.05: removes none of 40 neurons, because the number that remains is rounded to 40, " +
      "a multiple of 8; give a larger share or a smaller --multiple",
  });
});

it("countKept() refuses numbers of heads and experts that transformers would not load", () => {
  const heads = (config: Record<string, unknown>) => readUnits("heads", config, specOf(config));
  assert.equal(countKept("heads", heads(LLAMA), 1 / 3, 2), 4);
  assert.throws(() => countKept("heads", heads({ ...LLAMA, hidden_size: 70 }), 1 / 3, 2), {
    name: "ModelError",
    message:
      'config.json: transformers refuses 4 heads in a model of model_type "llama", because hidden_size 70 is not ' +
      "a multiple of 4; the numbers that can remain of 6 heads are: 2",
  });
  const mistral = { ...LLAMA, model_type: "mistral", hidden_size: 70 };
  assert.equal(countKept("heads", heads(mistral), 1 / 3, 2), 4);
  const experts = readUnits("experts", MIXTRAL, specOf(MIXTRAL));
  assert.equal(countKept("experts", experts, 0.6, 1), 2);
  assert.throws(() => countKept("experts", experts, 0.8, 1), {
    name: "ModelError",
    message: "config.json: num_experts_per_tok is 2, so 1 of 6 experts are too few",
  });
});

it("keptSettings() has the settings of all kinds, under the names of the configuration", () => {
  const kept = { heads: 4, experts: 3 };
  const settings = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 };
  assert.deepEqual(keptSettings(kept, MIXTRAL, specOf(MIXTRAL)), { ...settings, num_local_experts: 3 });
  for (const setting of ["num_experts", "num_local_experts"]) {
    const qwen = { ...SIZES, model_type: "qwen3_moe", [setting]: 9 };
    assert.deepEqual(keptSettings({ experts: 8 }, qwen, specOf(qwen)), { [setting]: 8 });
  }
  const olmoe = { ...SIZES, model_type: "olmoe" };
  assert.deepEqual(keptSettings({ experts: 32 }, olmoe, specOf(olmoe)), { num_experts: 32 });
});

it("readingLayers() lists the layers that lose columns, with the columns that go together", () => {
  const layers = readingLayers({ neurons: 30, heads: 4 }, LLAMA, specOf(LLAMA));
  assert.deepEqual(layers.map(({ name, group, share }) => [name, group, Math.round(1000 * share)]), [
    ["model.layers.0.self_attn.o_proj.weight", 16, 333],
    ["model.layers.0.mlp.down_proj.weight", 1, 250],
    ["model.layers.1.self_attn.o_proj.weight", 16, 333],
    ["model.layers.1.mlp.down_proj.weight", 1, 250],
  ]);
  assert.deepEqual(readingLayers({ experts: 3 }, MIXTRAL, specOf(MIXTRAL)), []);
});

it("configWithoutBlocks() moves the settings of the later blocks, and keeps all others", () => {
  const layer_types = ["a", "b", "c", "d", "e"];
  const config = { hidden_size: 8, num_hidden_layers: 5, layer_types, max_window_layers: 3 };
  assert.deepEqual(configWithoutBlocks(config, new Set([1, 3])), {
    hidden_size: 8,
    num_hidden_layers: 3,
    layer_types: ["a", "c", "e"],
    max_window_layers: 2,
  });
  assert.equal(configWithoutBlocks(config, new Set()), config);
  const smollm = { model_type: "smollm3", num_hidden_layers: 3, no_rope_layers: [1, 0, 1] };
  assert.deepEqual(configWithoutBlocks(smollm, new Set([0])).no_rope_layers, [0, 1]);
  assert.throws(
    () => configWithoutBlocks({ ...smollm, no_rope_layers: null }, new Set([0])),
    /without no_rope_layers, the kind of a block of smollm3 follows from its number, so no blocks can be dropped/,
  );
});
