/**
 * Tests how the mixtures of experts read configurations and refuse layouts that are not supported.
 * `transformers_test.ts` compares their numbers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import type { TensorSource } from "../../../src/model/checkpoint/tensor_source.ts";
import { Forward } from "../../../src/model/forward.ts";
import { checkTensors } from "../../../src/model/families/check_tensors.ts";
import { randomModel } from "../../support/random_model.ts";
import { largestBatch } from "../../../src/model/batches.ts";
import { FAMILY_MODELS, LLAMA } from "../../../scripts/fixtures/family_models.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const none = () => false;

const { base: DEEPSEEK } = FAMILY_MODELS.deepseek_v3;

it("a checkpoint may have the blocks after the last one that config.json announces, by default one, and no others", () => {
  const { weights } = randomModel(DEEPSEEK);
  const check = (index: number, settings: Record<string, unknown>) => {
    const spec = readModelSpec({ ...DEEPSEEK, ...settings }, weights.has);
    checkTensors(spec, weights, [`model.layers.${index}.eh_proj.weight`]);
  };
  check(2, {});
  check(3, { num_nextn_predict_layers: 2 });
  check(3, { num_mtp_layers: 2 });
  const refused = /describes 2 blocks, but the checkpoint has a tensor model\.layers\./;
  assert.throws(() => check(3, {}), refused);
  assert.throws(() => check(2, { num_nextn_predict_layers: 0 }), refused);
  assert.throws(() => check(2, { num_mtp_layers: 0 }), refused);
  assert.throws(() => check(3, { num_nextn_predict_layers: 1, num_mtp_layers: 2 }), refused);
});

it("an observed block loads and computes only the layers of experts on which an observed input depends", async () => {
  const { spec, weights } = randomModel(DEEPSEEK), backend = await createCpuBackend();
  const { groups } = spec.block(1), window = Uint32Array.from({ length: 9 }, (_, token) => token);
  const groupOf = (name: string) =>
    groups.find((group) => group.some((layer) => layer.name === `mlp.${name}`))!;
  const observe = async (names?: readonly string[]) => {
    const loaded = new Set<string>(), observed = new Set<string>();
    const source: TensorSource = {
      ...weights,
      read: (name, ...range) => {
        loaded.add(name);
        return weights.read(name, ...range);
      },
    };
    const forward = await Forward.begin(backend, { spec, weights }, [window]);
    const wanted = names && new Set(names.map(groupOf));
    await forward.observeBlock(1, ([{ name }]) => void observed.add(name), { source, groups: wanted });
    forward.destroy();
    const inMixture = [...loaded].flatMap((name) => /mlp\.(\w*experts\..*)\.weight$/.exec(name)?.[1] ?? []);
    return { loaded: inMixture, observed };
  };
  const { loaded, observed } = await observe();
  assert.ok(observed.has("mlp.shared_experts.down_proj"));
  assert.deepEqual(loaded.filter((name) => name.includes("down_proj")), []);
  assert.deepEqual((await observe(["experts.1.down_proj"])).loaded, [
    "experts.1.gate_proj",
    "experts.1.up_proj",
  ]);
  assert.deepEqual((await observe(["shared_experts.gate_proj", "experts.0.gate_proj"])).loaded, []);
  const shared = await observe(["shared_experts.down_proj"]);
  assert.deepEqual(shared.loaded, ["shared_experts.gate_proj", "shared_experts.up_proj"]);
  await backend.dispose();
});

it("the batches of a mixture of experts are as large as with one expert, because experts share memory", () => {
  const windows = (experts: number) => {
    const spec = readModelSpec({ ...LLAMA, model_type: "mixtral", num_local_experts: experts }, none);
    return largestBatch(spec, 10, { maxBufferBytes: 2 ** 20, activationBytes: 2 ** 16 });
  };
  assert.ok(windows(2) < 64);
  assert.equal(windows(8), windows(2));
});

testRefusedSettings("a mixture of experts", LLAMA, [
  [
    { model_type: "mixtral", num_local_experts: 2, num_experts_per_tok: 3 },
    /num_experts_per_tok 3 with 2 experts is not/,
  ],
  [
    { ...DEEPSEEK, n_group: 3, topk_group: 2, num_experts_per_tok: 5 },
    /6 experts in n_group 3 with topk_group 2 and num_experts_per_tok 5 is not supported/,
  ],
  [{ ...DEEPSEEK, n_group: 4, topk_group: 2 }, /n_group 4 .* must have equal sizes of at least 2/],
  [{ ...DEEPSEEK, n_group: 6, topk_group: 2 }, /n_group 6 .* must have equal sizes of at least 2/],
  [{ ...DEEPSEEK, v_head_dim: 11 }, /v_head_dim 11 is not supported, must be at most 10/],
  [
    { ...DEEPSEEK, rope_parameters: { rope_type: "yarn", mscale_all_dim: 1 } },
    /rope_type yarn needs factor/,
  ],
  [{ ...DEEPSEEK, num_key_value_heads: 2 }, /num_key_value_heads 2 is not supported/],
  [{ ...DEEPSEEK, model_type: "deepseek_v2", norm_topk_prob: true }, /norm_topk_prob/],
  [{ ...DEEPSEEK, moe_layer_freq: 2 }, /moe_layer_freq/],
  [{ model_type: "olmoe", clip_qkv: 8 }, /clip_qkv 8 is not supported/],
]);
