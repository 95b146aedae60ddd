/** Tests that models which no family supports are refused with the reason, before any weight is read. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

testRefusedSettings("a model that no family supports", {}, [
  [
    { model_type: "phimoe", num_local_experts: 8 },
    /model_type "phimoe" is a mixture of experts of a kind that is not supported, .*; the supported mixtures are: deepseek_v2, .*, qwen3_next$/,
  ],
  [{ model_type: "llama", num_experts: 4 }, /model_type "llama" is a mixture of experts/],
  [{ model_type: "llava", vision_config: {} }, /model_type "llava" is multimodal/],
  [{ model_type: "t5", is_encoder_decoder: true }, /model_type "t5" is an encoder with a decoder/],
  [
    { model_type: "mamba" },
    /model_type "mamba" is not supported, but prune_ of the Python package pare-llm prunes any causal model of PyTorch; the supported types are: .*bloom, .*, opt, .*mixtral, .*, gemma3, .*mistral3, .*/,
  ],
  [{}, /model_type undefined is not supported/],
  [{ model_type: ["llama"] }, /model_type \["llama"\] is not supported/],
]);

it("does not refuse a model because of settings for unsupported parts that are null or 0", () => {
  const config = {
    model_type: "llama",
    vision_config: null,
    num_local_experts: 0,
  };
  assert.throws(() => readModelSpec(config, () => true), /hidden_size: /);
});

it("names a model that no family supports in one line", () => {
  assert.throws(
    () => readModelSpec({ model_type: ["long", "\n".repeat(10_000)] }, () => true),
    ({ message }) => {
      assert.match(message, /prune_ of the Python package/);
      return message.length <= 1000 && !message.includes("\n");
    },
  );
});
