/**
 * Tests how the GPT-2 family reads configurations and the tensor names of published checkpoints, and how it
 * divides weights that are stored transposed. `transformers_test.ts` compares its numbers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { limitBuffers } from "../../support/limited_backend.ts";
import { windowLogits } from "../../support/logits.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const CONFIG = { model_type: "gpt2", n_embd: 16, n_layer: 2, n_head: 4, n_positions: 32, vocab_size: 23 };

it("GPT-2 reads the tensor names of published checkpoints, and the default size of the feed-forward network", () => {
  const spec = readModelSpec(CONFIG, (name) => name === "wte.weight");
  assert.equal(spec.block(0).prefix(1), "h.1.");
  assert.deepEqual([spec.head.name, spec.finalNorm?.name], ["wte", "ln_f"]);
  assert.deepEqual(
    spec.block(0).groups.flat().map(({ name, inFeatures, outFeatures }) => [name, inFeatures, outFeatures]),
    [["attn.c_attn", 16, 48], ["attn.c_proj", 16, 16], ["mlp.c_fc", 16, 64], ["mlp.c_proj", 64, 16]],
  );
});

eachBackend("a GPT-2 model", (backend) => {
  it("computes the same logits if its weights are divided among several buffers", async () => {
    const { windows: [window], variants: [{ model, logits }] } = await readFamilyFixture("gpt2");
    const tokens = 5, columns = 48;
    const small = limitBuffers(backend(), tokens * columns * 4); // room for 5 of the 16 rows of attn.c_attn
    const actual = await windowLogits(model, small, window.subarray(0, tokens));
    assertClose(actual, logits.subarray(0, actual.length), 1e-5);
  });
});

testRefusedSettings("GPT-2", CONFIG, [
  [{ n_head: 5 }, /hidden_size 16 is not a multiple of n_head 5/],
  [{ n_layer: undefined }, /n_layer: /],
  [{ add_cross_attention: true }, /add_cross_attention is true, which is not supported/],
]);
