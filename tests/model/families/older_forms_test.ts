/**
 * Tests how LLaMA and families derived from it read older forms of their settings, and what they refuse. `transformers_test.ts`
 * compares their numbers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { type FamilyFixture, readFamilyFixture } from "../../support/family_fixtures.ts";
import { windowLogits } from "../../support/logits.ts";
import type { Backend } from "../../../src/device/backend.ts";

const [llama, phi3, gemma2, gemma3, gemma4, smolLm3, olmo3, exaone4, cohere2, glm4, phi, deepseekV3] =
  await Promise.all(
    [
      "llama",
      "phi3",
      "gemma2",
      "gemma3_text",
      "gemma4_text",
      "smollm3",
      "olmo3",
      "exaone4",
      "cohere2",
      "glm4",
      "phi",
      "deepseek_v3",
    ].map(
      readFamilyFixture,
    ),
  );

/** Returns the settings of the rotation of a variant, in the form of transformers 5. */
function rotationOf({ variants }: FamilyFixture, index: number): Record<string, unknown> {
  return variants[index].config.rope_parameters as Record<string, unknown>;
}

/** Asserts that a variant, by default the first, has the same logits if its settings are changed. */
async function assertSameLogits(
  { weights, windows: [window], variants }: FamilyFixture,
  settings: Record<string, unknown>,
  backend: Backend,
  index = 0,
): Promise<void> {
  const { config, logits } = variants[index];
  const spec = readModelSpec({ ...config, ...settings }, weights.has);
  const actual = await windowLogits({ spec, weights }, backend, window);
  assertClose(actual, logits.subarray(0, actual.length), 1e-5);
}

eachBackend("a model in an older form", (backend) => {
  it("reads the scaling of LLaMA 3.1, and the LongRoPE of Phi-3 with its older name of the type", async () => {
    const { rope_theta, ...rope_scaling } = rotationOf(llama, 3);
    await assertSameLogits(llama, { rope_parameters: undefined, rope_theta, rope_scaling }, backend(), 3);
    const { rope_type: type, rope_theta: theta, partial_rotary_factor, ...longrope } = rotationOf(phi3, 5);
    const older = { rope_theta: theta, partial_rotary_factor, rope_scaling: { ...longrope, type } };
    await assertSameLogits(phi3, { rope_parameters: undefined, ...older }, backend(), 5);
  });

  it("reads Kimi K2 as a DeepSeek-V3, whose class it has", async () => {
    await assertSameLogits(deepseekV3, { model_type: "kimi_k2" }, backend());
  });

  it("has a sliding window in every other block of Gemma 2, if config.json has no layer_types", async () => {
    await assertSameLogits(gemma2, { layer_types: undefined }, backend());
  });

  it("has the sliding windows that sliding_window_pattern says in Gemma 3", async () => {
    await assertSameLogits(gemma3, { layer_types: undefined, sliding_window_pattern: 2 }, backend());
  });

  it("reads the two rotations of Gemma 3 in the form of older versions", async () => {
    const older = {
      rope_theta: 1000,
      rope_scaling: { rope_type: "linear", factor: 4 },
      rope_local_base_freq: 100,
    };
    await assertSameLogits(gemma3, { rope_parameters: undefined, ...older }, backend());
  });

  it("reads the heads of Gemma 4 in the form of published checkpoints", async () => {
    const published = { per_layer_config: undefined, global_head_dim: 10, num_global_key_value_heads: 2 };
    await assertSameLogits(gemma4, published, backend());
  });

  it("scales the rotation of OLMo 3 only in blocks without a window, in the form of older versions", async () => {
    const older = { rope_theta: 100, rope_scaling: { rope_type: "yarn", factor: 4 } };
    await assertSameLogits(olmo3, { rope_parameters: undefined, ...older }, backend(), 1); // both blocks have windows
  });

  it("has the sliding windows that sliding_window_pattern says in EXAONE 4 and in Cohere 2", async () => {
    await assertSameLogits(exaone4, { layer_types: undefined, sliding_window_pattern: "LG" }, backend());
    await assertSameLogits(exaone4, { layer_types: undefined, sliding_window_pattern: 2 }, backend());
    await assertSameLogits(cohere2, { layer_types: undefined, sliding_window_pattern: 2 }, backend());
  });

  it("rotates a half of each head of GLM-4 and Phi, if config.json does not say how much", async () => {
    for (const family of [glm4, phi]) {
      await assertSameLogits(family, { rope_parameters: undefined, rope_theta: 100 }, backend());
    }
  });

  it("reads rope_parameters if rope_scaling is empty", async () => {
    await assertSameLogits(glm4, { rope_scaling: {} }, backend());
  });

  it("rotates in three of four blocks of SmolLM3, if config.json has no no_rope_layers", async () => {
    await assertSameLogits(smolLm3, { no_rope_layers: undefined }, backend(), 1); // every fourth block does not rotate, and the model has two blocks
    await assertSameLogits(smolLm3, { no_rope_layers: undefined, no_rope_layer_interval: 2 }, backend());
  });
});

for (
  const [model_type, settings, pattern] of [
    ["gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention is true, which is not/],
    ["gemma2", { layer_types: ["full_attention"] }, /layer_types has 1 entries, num_hidden_layers is 2/],
    ["gemma2", { head_dim: 513 }, /heads of 513 dimensions are not supported/],
    ["gemma3_text", { layer_types: ["chunked_attention", "full_attention"] }, /layer_types\.0: /],
    [
      "gemma3_text",
      { rope_parameters: { full_attention: { rope_type: "axial" } } },
      /rope_type axial is not supported/,
    ],
    [
      "gemma4_text",
      { hidden_size_per_layer_input: undefined, enable_moe_block: true },
      /hidden_size_per_layer_input 256 is not supported with enable_moe_block, must be 0/,
    ],
    [
      "gemma4_text",
      { num_kv_shared_layers: 1 },
      /num_kv_shared_layers 1 is not supported, because no block before block 1 has the kind of attention of block 1/,
    ],
    [
      "gemma4_text",
      { per_layer_config: undefined, attention_k_eq_v: true, num_global_key_value_heads: 3 },
      /num_attention_heads 4 is not a multiple of num_key_value_heads 3/,
    ],
    ["gemma4_text", { use_bidirectional_attention: "all" }, /use_bidirectional_attention: /],
    ["gemma4_text", { per_layer_config: { 1: { hidden_size: 8 } } }, /per_layer_config\.1: /],
    ["gemma4_text", { per_layer_config: { 0: { head_dim: 8 } } }, /per_layer_config is not supported/],
    [
      "gemma4_text",
      { enable_moe_block: true, num_experts: 4 },
      /enable_moe_block needs num_experts, top_k_experts and moe_intermediate_size/,
    ],
    ["llama", { rope_parameters: { rope_type: "yarn", rope_theta: 1, factor: 4 } }, /rope_theta: /],
    ["exaone4", { sliding_window_pattern: "LGL" }, /sliding_window_pattern: /],
    ["falcon", { alibi: true }, /alibi is true, which is not supported/],
    [
      "falcon",
      { new_decoder_architecture: true, num_kv_heads: 3 },
      /num_attention_heads 4 is not a multiple of num_kv_heads 3/,
    ],
    [
      "falcon",
      { num_ln_in_parallel_attn: 2 },
      /num_ln_in_parallel_attn 2 is not supported without new_decoder_architecture/,
    ],
    ["falcon", { num_ln_in_parallel_attn: 3 }, /num_ln_in_parallel_attn: /],
    ["smollm3", { no_rope_layers: [1] }, /no_rope_layers has 1 entries, num_hidden_layers is 2/],
    ["olmo2", { num_key_value_heads: 3 }, /is not a multiple of num_key_value_heads 3/],
    ["granite", { logits_scaling: 0 }, /logits_scaling: /],
    [
      "lfm2",
      { block_auto_adjust_ff_dim: true, block_ffn_dim_multiplier: 1e-9 },
      /a feed-forward network cannot have 0 units/,
    ],
    ["starcoder2", { hidden_act: "mish" }, /hidden_act: mish is not supported/],
  ] as const
) {
  it(`${model_type} refuses the settings ${JSON.stringify(settings)}`, async () => {
    const { weights, variants: [{ config }] } = await readFamilyFixture(model_type);
    assert.throws(() => readModelSpec({ ...config, ...settings }, weights.has), {
      name: "ModelError",
      message: pattern,
    });
  });
}

it("refuses a tied head of Phi, because a table of tokens has no bias", () => {
  const { weights, variants: [{ config }] } = phi;
  assert.throws(
    () =>
      readModelSpec(
        { ...config, tie_word_embeddings: true },
        (name) => name !== "lm_head.weight" && weights.has(name),
      ),
    { name: "ModelError", message: /tie_word_embeddings true is not supported for phi/ },
  );
});

it("reads settings that are null, and both names of the number of experts", async () => {
  const specOf = async (family: string, settings: Record<string, unknown>) => {
    const { weights, variants: [{ config }] } = await readFamilyFixture(family);
    return readModelSpec({ ...config, ...settings }, weights.has);
  };
  const ministral = (await specOf("ministral3", { rope_parameters: null })).block(0).traits!;
  assert.equal(ministral.rotary!(0)!.yarn!.factor, 16);
  const sliding = { full_attention: null, sliding_attention: { rope_theta: 100 } };
  const gemma = (await specOf("gemma3_text", { rope_parameters: sliding })).block(0).traits!;
  assert.deepEqual([0, 1].map((block) => gemma.rotary!(block)!.theta).toSorted(), [100, 1_000_000]);
  const falcon = await specOf("falcon", { bias: null, parallel_attn: null, multi_query: null });
  assert.equal(falcon.block(0).norms.length, 2);
  assert.equal(falcon.block(0).traits!.kvHeads, 4);
  const both = { num_local_experts: undefined, num_experts: 7 }, other = { num_experts: undefined };
  for (
    const [family, settings] of [["gpt_oss", both], ["qwen3_moe", {
      ...other,
      num_local_experts: 7,
    }]] as const
  ) {
    assert.equal((await specOf(family, settings)).block(0).traits.mixture!.experts, 7);
  }
});
