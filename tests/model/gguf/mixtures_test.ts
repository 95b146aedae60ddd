/**
 * Tests which mixtures and models with linear attention become GGUF files, and how the keys describe them. `tests/peers/gguf_test.ts` compares
 * the files with llama.cpp.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Settings } from "../../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { findArchitecture } from "../../../src/model/gguf/architectures.ts";
import { describeNetwork, type NetworkDescription } from "../../../src/model/gguf/metadata.ts";
import { planTensors } from "../../../src/model/gguf/plan_tensors.ts";
import { writeImatrix } from "../../../src/model/gguf/write_imatrix.ts";
import { GGUF_MODELS } from "../../peers/gguf_models.ts";
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

  it("leads to F16 where the columns of a head of Qwen3.5 are no whole blocks, because they move together", async () => {
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

  it("has an importance matrix with the columns of the heads of Qwen3.5 where the weights have them", async () => {
    const config = { ...GGUF_MODELS.qwen3_5_text },
      model = randomModel(config),
      file = `${folder}/imatrix.gguf`;
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
    const { tensors } = readGguf(await Deno.readFile(file));
    const { bytes } = tensors.get("blk.0.ssm_out.weight.in_sum2")!;
    const heads = [...new Float32Array(bytes.slice().buffer)].filter((_, i) => i % 32 === 0).map((x) =>
      x / 32
    );
    assert.deepEqual(heads, [0, 2, 1, 3]);
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
