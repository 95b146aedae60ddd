/**
 * Tests how the mixtures of experts read configurations and refuse layouts that are not supported.
 * `transformers_test.ts` compares their numbers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { planBatches } from "../../../src/model/batches.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";

const BASE = {
  vocab_size: 23,
  hidden_size: 16,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};
const none = () => false;

it("Mixtral, Qwen3-MoE and OLMoE have the layers of every expert, and a router that stays dense", () => {
  const layersOf = (config: Record<string, unknown>) => {
    const { groups, denseLayers = [] } = readModelSpec({ ...BASE, ...config }, none).block;
    const experts = groups.slice(2).flat().map((
      { name, inFeatures, outFeatures },
    ) => [name, inFeatures, outFeatures]);
    return { experts, dense: denseLayers.map(({ name }) => name) };
  };
  assert.deepEqual(layersOf({ model_type: "mixtral", num_local_experts: 2 }), {
    experts: [
      ["block_sparse_moe.experts.0.w1", 16, 20],
      ["block_sparse_moe.experts.0.w3", 16, 20],
      ["block_sparse_moe.experts.1.w1", 16, 20],
      ["block_sparse_moe.experts.1.w3", 16, 20],
      ["block_sparse_moe.experts.0.w2", 20, 16],
      ["block_sparse_moe.experts.1.w2", 20, 16],
    ],
    dense: ["block_sparse_moe.gate"],
  });
  const qwen = { model_type: "qwen3_moe", moe_intermediate_size: 12, num_experts_per_tok: 1 };
  const olmoe = { model_type: "olmoe", intermediate_size: 12, num_experts_per_tok: 1 };
  for (
    const settings of [{ ...qwen, num_experts: 1 }, { ...qwen, num_local_experts: 1 }, {
      ...olmoe,
      num_experts: 1,
    }]
  ) {
    assert.deepEqual(layersOf(settings), {
      experts: [
        ["mlp.experts.0.gate_proj", 16, 12],
        ["mlp.experts.0.up_proj", 16, 12],
        ["mlp.experts.0.down_proj", 12, 16],
      ],
      dense: ["mlp.gate"],
    });
  }
});

it("the batches of a mixture of experts are as large as with one expert, because experts share memory", () => {
  const batches = (experts: number) => {
    const spec = readModelSpec({ ...BASE, model_type: "mixtral", num_local_experts: experts }, none);
    return planBatches(spec, 64, 10, { maxBufferBytes: 2 ** 20, activationBytes: 2 ** 16 }).length;
  };
  assert.ok(batches(2) > 1);
  assert.equal(batches(8), batches(2));
});

for (
  const [settings, pattern] of [
    [
      { model_type: "mixtral", num_local_experts: 2, num_experts_per_tok: 3 },
      /num_experts_per_tok 3 with 2 experts is not/,
    ],
    [
      { model_type: "qwen3_moe", mlp_only_layers: [1] },
      /mlp_only_layers \[1\], so some blocks have no experts/,
    ],
    [
      { model_type: "qwen3_moe", decoder_sparse_step: 2 },
      /decoder_sparse_step 2, so some blocks have no/,
    ],
    [{ model_type: "olmoe", clip_qkv: 8 }, /clip_qkv 8 is not supported/],
  ] as const
) {
  it(`a mixture of experts refuses ${JSON.stringify(settings)}`, () => {
    assert.throws(() => readModelSpec({ ...BASE, ...settings }, none), {
      name: "ModelError",
      message: pattern,
    });
  });
}
