/**
 * Tests which mixtures and models with linear attention become GGUF files, and how the keys describe them. `tests/peers/gguf_test.ts` compares
 * the files with llama.cpp.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { GGUF_MODELS, type Settings } from "../../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { findArchitecture } from "../../../src/model/gguf/architecture.ts";
import { describeNetwork, type NetworkDescription } from "../../../src/model/gguf/metadata.ts";
import { planTensors } from "../../../src/model/gguf/plan_tensors.ts";
import { writeImatrix } from "../../../src/model/gguf/write_imatrix.ts";
import { randomModel } from "../../support/random_model.ts";
import { readGguf } from "../../support/read_gguf.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder();
const DEEPSEEK_V2 = "deepseek_v2 with two shared experts, and with another scale";
const GROUPS = "deepseek_v3 with groups of experts";
const YARN = "deepseek_v3 with YaRN, queries of the hidden states, and factors that are not normalised";

/** Describes a model of the peers' tests. */
function describeModel(title: string, changes: Settings = {}): NetworkDescription {
  const config = { ...GGUF_MODELS[title], ...changes };
  return describeNetwork(config, readModelSpec(config, () => false), findArchitecture(config));
}

/** Returns the values of a description by their keys, without the name of the architecture. */
function keysOf(title: string, changes: Settings = {}): Map<string, unknown> {
  const { entries } = describeModel(title, changes);
  return new Map(entries.map(([key, { value }]) => [key.slice(key.indexOf(".") + 1), value]));
}

describe("the description of a mixture, or of a model with linear attention, for llama.cpp", () => {
  for (
    const [title, wanted] of [
      ["qwen2_moe", { expert_count: 5, expert_used_count: 2, expert_shared_feed_forward_length: 64 }],
      [DEEPSEEK_V2, {
        ...{ expert_shared_count: 2, leading_dense_block_count: 1, expert_weights_norm: false },
        ...{ expert_gating_func: 1, expert_group_count: undefined, "attention.q_lora_rank": 32 },
      }],
      [GROUPS, {
        ...{ expert_gating_func: 2, expert_group_count: 3, expert_group_used_count: 2 },
        ...{ expert_weights_norm: true, "attention.key_length": 16, "attention.value_length": 8 },
        ...{ "attention.kv_lora_rank": 32, "rope.dimension_count": 4, feed_forward_length: 96 },
      }],
      [YARN, { "attention.q_lora_rank": 0, "rope.scaling.attn_factor": undefined }],
      ["llama4_text", {
        ...{ feed_forward_length: 64, expert_feed_forward_length: 32, interleave_moe_layer_step: 2 },
        ...{ "attention.sliding_window": 8192, leading_dense_block_count: undefined },
      }],
      ["qwen3_next", { full_attention_interval: 2, "ssm.inner_size": 128, "ssm.group_count": 2 }],
      ["qwen3_5_text", { "rope.dimension_count": 4, "rope.dimension_sections": [1, 1, 0, 0] }],
      ["granitemoehybrid", {
        ...{ feed_forward_length: [32, 32, 32], "attention.head_count_kv": [0, 2, 0] },
        ...{ expert_count: 5, expert_shared_feed_forward_length: 96, "rope.scaling.finetuned": false },
        ...{ "ssm.inner_size": 128, "ssm.time_step_rank": 4, "ssm.group_count": 2, "ssm.state_size": 9 },
      }],
      ["granitemoehybrid with attention in all blocks", {
        ...{ feed_forward_length: 96, "attention.head_count_kv": 2, "ssm.inner_size": undefined },
        ...{ "rope.scaling.finetuned": undefined, "rope.dimension_count": 16 },
      }],
      ["gemma4 with experts", {
        ...{ feed_forward_length: [96, 96, 96], "attention.head_count_kv": [2, 2, 1], expert_count: 5 },
        ...{ "attention.sliding_window": 5, "attention.sliding_window_pattern": [true, true, false] },
        ...{ "attention.key_length": 16, "attention.key_length_swa": 8, embedding_length_per_layer_input: 0 },
        ...{ "rope.dimension_count": 16, "rope.dimension_count_swa": 8 },
        ...{ "rope.freq_base": 1000, "rope.freq_base_swa": 100 },
      }],
      ["nemotron_h", {
        ...{ feed_forward_length: [0, 96, 0, 0, 96], "attention.head_count_kv": [0, 0, 2, 0, 0] },
        ...{ "attention.layer_norm_epsilon": 1e-5, "attention.layer_norm_rms_epsilon": 1e-5 },
      }],
      ["nemotron_h with groups of experts, and factors that are not normalised", {
        ...{ feed_forward_length: [32, 0, 0, 32], expert_group_count: 3, expert_weights_scale: 1.7 },
        ...{ expert_shared_feed_forward_length: 64, leading_dense_block_count: undefined },
      }],
    ] as const
  ) {
    it(`has the sizes and the rule of ${title}`, () => {
      const keys = keysOf(title);
      assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((key) => [key, keys.get(key)])), wanted);
    });
  }

  it("has the factor of scores that DeepSeek computes from the settings of YaRN", () => {
    const multiplier = Number(keysOf(YARN).get("rope.scaling.yarn_log_multiplier"));
    assert.ok(Math.abs(multiplier - 0.07) < 1e-12, `${multiplier}`);
  });

  it("has a remark about the bounds of YaRN that llama.cpp rounds, for gpt-oss only", () => {
    const rope_parameters = {
      ...GGUF_MODELS["gpt_oss with YaRN"].rope_parameters as Settings,
      truncate: false,
    };
    assert.match(describeModel("gpt_oss", { rope_parameters }).remark!, /rounds the bounds of YaRN/);
    assert.equal(describeModel("gpt_oss with YaRN").remark, undefined);
    assert.throws(() => describeModel("qwen2_moe", { rope_parameters }), {
      name: "ModelError",
      message: /scaling of the rotation is not supported for the architecture qwen2moe/,
    });
  });

  for (
    const [title, changes, layer] of [
      ["nemotron_h with experts", { use_bias: true }, "backbone.layers.1.mixer.in_proj.bias"],
      ["nemotron_h with experts", { layers_block_type: ["moe", "linear_attention", "mlp"] }, "mixer.up_proj"],
      ["gemma4", { attention_bias: true }, "model.layers.0.self_attn.q_proj.bias"],
    ] as const
  ) {
    it(`refuses ${title} with ${JSON.stringify(changes)}, because llama.cpp has no place for ${layer}`, async () => {
      const config = { ...GGUF_MODELS[title], ...changes }, architecture = findArchitecture(config);
      const options = { type: "f32", round: false } as const;
      await assert.rejects(planTensors("FOLDER", randomModel(config), architecture, options), {
        name: "ModelError",
        message: `FOLDER: the architecture ${architecture.name} of llama.cpp has no place for ${layer}`,
      });
    });
  }

  it("leads to F16 where the columns of a head of Qwen3.5 are not whole blocks, because they move together", async () => {
    const inF16 = async (linear_value_head_dim: number) => {
      const sizes = { linear_key_head_dim: linear_value_head_dim, linear_value_head_dim };
      const config = { ...GGUF_MODELS.qwen3_5_text, ...sizes },
        options = { type: "q8_0", round: true } as const;
      return (await planTensors("FOLDER", randomModel(config), findArchitecture(config), options)).layers
        .inF16;
    };
    assert.deepEqual(await inF16(32), []);
    assert.deepEqual(await inF16(16), ["model.layers.0.linear_attn.out_proj.weight"]);
  });

  /** Returns the tensors of an importance matrix of the first block, for which the sum of a column is its number. */
  async function imatrixOf(title: string) {
    const config = GGUF_MODELS[title], model = randomModel(config), file = `${folder}/imatrix.gguf`;
    const groups = model.spec.block(0).groups.map((group) =>
      [group, Float32Array.from({ length: group[0].inFeatures }, (_, column) => column)] as const
    );
    const checkpoint = { folder, config, shards: [] } as unknown as Checkpoint;
    await writeImatrix({ checkpoint, model }, file, denoFileSystem, {
      ...{ texts: ["text"], windows: 1, windowTokens: 1 },
      squares: (async function* () {
        yield new Map(groups);
      })(),
    });
    return readGguf(await Deno.readFile(file)).tensors;
  }

  it("has an importance matrix of Qwen3.5 whose columns move with the columns of the weights", async () => {
    const { bytes } = (await imatrixOf("qwen3_5_text")).get("blk.0.ssm_out.weight.in_sum2")!;
    const heads = [...new Float32Array(bytes.slice().buffer)].filter((_, i) => i % 32 === 0).map((x) =>
      x / 32
    );
    assert.deepEqual(heads, [0, 2, 1, 3]);
  });

  it("has an importance matrix with the sums of a layer of Granite 4 for both of its tensors", async () => {
    const sums = [...(await imatrixOf("granitemoehybrid without experts")).keys()].filter((name) =>
      name.endsWith(".in_sum2")
    );
    assert.deepEqual(
      sums,
      ["ssm_in", "ssm_out", "ffn_gate", "ffn_up", "ffn_down"].map((place) => `blk.0.${place}.weight.in_sum2`),
    );
  });

  for (
    const [title, changes, message] of [
      ["qwen2_moe", { norm_topk_prob: true }, /norm_topk_prob must be false for the architecture qwen2moe/],
      [
        "qwen2_moe",
        { mlp_only_layers: [1] },
        /some blocks have no experts, .* qwen2moe of llama\.cpp does not/,
      ],
      ["qwen2_moe", { decoder_sparse_step: 9 }, /no block has experts, which the architecture qwen2moe/],
      [DEEPSEEK_V2, { topk_method: "group_limited_greedy", n_group: 3, topk_group: 2 }, /adds the 2 largest/],
      [GROUPS, { rope_interleave: false }, /rope_interleave false is not supported .* deepseek2 /],
      [GROUPS, { rms_norm_eps: 1e-5 }, /q_a_layernorm has the epsilon 0\.000001, .* all norms, 0\.00001/],
      [
        YARN,
        { rope_parameters: { ...GGUF_MODELS[YARN].rope_parameters as Settings, mscale: 1 } },
        /mscale equal/,
      ],
      ["gpt_oss", { swiglu_limit: 1.5 }, /swiglu_limit must be 7 for GGUF, not 1\.5/],
      ["gpt_oss", { sliding_window: null }, /gives block 0 the window 0, .* gpt-oss /],
      ["llama4_text", { attention_chunk_size: 5 }, /attention_chunk_size must be 8192 for GGUF, not 5/],
      ["llama4_text", { use_qk_norm: false }, /use_qk_norm false with 3 experts is not supported .* llama4 /],
      ["llama4_text", { moe_layers: [0, 3] }, /some blocks have no experts, .* multiple of one number/],
      ["granitemoehybrid", { mamba_expand: 1, mamba_d_head: 16 }, /mamba_expand must be 2 for GGUF, not 1/],
      ["granitemoehybrid", { mamba_conv_bias: false }, /mamba_conv_bias must be true for GGUF, not false/],
      [
        "granitemoehybrid",
        { hidden_act: "gelu" },
        /the activation is gelu, but .* granitehybrid .* has silu/,
      ],
      [
        "granitemoehybrid",
        { time_step_limit: [0.1, 0.9] },
        /steps of Mamba 2 to 0\.1 and 0\.9, .* no limits/,
      ],
      ["gemma4", { final_logit_softcapping: null }, /logitSoftCap none, but .* gemma4 .* computes with 30/],
      [
        "gemma4",
        { layer_types: Array(3).fill("full_attention") },
        /no block has a sliding window, .* gemma4 /,
      ],
      [
        "gemma4 with inputs of tokens, and with shared keys and values",
        { vocab_size_per_layer_input: 40 },
        /vocab_size_per_layer_input 40, which differs from vocab_size 29, is not supported .* gemma4 /,
      ],
      [
        "gemma4 with inputs of tokens, and with shared keys and values",
        { num_kv_shared_layers: 1 },
        /num_kv_shared_layers 1 with these layer_types is not supported .* gemma4 /,
      ],
      ["nemotron_h", { use_conv_bias: false }, /use_conv_bias must be true for GGUF, not false/],
      [
        "nemotron_h",
        { mamba_hidden_act: "relu" },
        /activation of Mamba 2 is relu, .* nemotron_h .* has silu/,
      ],
      [
        "nemotron_h",
        { layers_block_type: ["mlp", "full_attention"] },
        /no block has Mamba 2, .* nemotron_h /,
      ],
      ["qwen3_next", { linear_key_head_dim: 12 }, /linear_key_head_dim 12 must be linear_value_head_dim 32/],
      ["qwen3_next", { rms_norm_eps: 1e-5 }, /rms_norm_eps must be 0\.000001 for GGUF/],
      ["qwen3_next", { layer_types: ["linear_attention", "linear_attention"] }, /needs attention in exactly/],
    ] as const
  ) {
    it(`refuses ${title} with ${JSON.stringify(changes)}`, () => {
      assert.throws(() => keysOf(title, changes), { name: "ModelError", message });
    });
  }
});
