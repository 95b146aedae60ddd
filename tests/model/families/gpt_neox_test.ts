/** Tests how the GPT-NeoX family reads the older names of settings and of the head. `transformers_test.ts` compares its numbers. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { windowLogits } from "../../support/logits.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const { weights, windows: [window], variants } = await readFamilyFixture("gpt_neox");
const [{ config, logits }] = variants;

eachBackend("a GPT-NeoX model", (backend) => {
  for (
    const [what, settings] of [
      ["the names of older versions", { rotary_pct: 0.25, rotary_emb_base: 100 }],
      ["the default share of rotated dimensions", { rotary_emb_base: 100 }],
      ["one rotary setting in the newer form", { rope_parameters: { rope_theta: 100 }, rotary_pct: 0.25 }],
    ] as const
  ) {
    it(`computes the same logits if its rotary settings have ${what}`, async () => {
      const spec = readModelSpec({ ...config, rope_parameters: undefined, ...settings }, weights.has);
      const actual = await windowLogits({ spec, weights }, backend(), window);
      assertClose(actual, logits.subarray(0, actual.length), 1e-5);
    });
  }
});

it("GPT-NeoX finds the head under both of its names, and in the embedding", () => {
  const nameOfHead = (settings: object, has: (name: string) => boolean) =>
    readModelSpec({ ...config, ...settings }, has).head.name;
  assert.equal(nameOfHead({}, () => false), "embed_out");
  assert.equal(nameOfHead({}, (name) => name === "lm_head.weight"), "lm_head");
  assert.equal(nameOfHead({ tie_word_embeddings: true }, () => false), "gpt_neox.embed_in");
});

testRefusedSettings("GPT-NeoX", config, [
  [{ num_attention_heads: 5 }, /hidden_size 16 is not a multiple of num_attention_heads 5/],
  [
    { rope_parameters: { partial_rotary_factor: 0.1 } },
    /0 of the 8 dimensions of a head rotate, but the number must be even and positive/,
  ],
  [{ hidden_act: "mish" }, /hidden_act: mish is not supported/],
]);
