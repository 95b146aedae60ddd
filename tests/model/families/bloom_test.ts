/** Tests how the BLOOM family reads configurations, and its ALiBi slopes. `transformers_test.ts` compares its numbers. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { alibiSlopes } from "../../../src/model/pieces/attention.ts";
import { alibi } from "../../reference/alibi.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const CONFIG = { model_type: "bloom", vocab_size: 23, hidden_size: 24, n_layer: 2, n_head: 4 };

it("BLOOM reads the tensor names and the setting names of published checkpoints", () => {
  const { hidden_size: n_embed, n_layer: num_hidden_layers, n_head: num_attention_heads, ...others } = CONFIG;
  const settings = { ...others, n_embed, num_hidden_layers, num_attention_heads };
  const spec = readModelSpec(settings, (name) => name === "word_embeddings.weight");
  assert.deepEqual([spec.hiddenSize, spec.blockCount, spec.block(0).prefix(1)], [24, 2, "h.1."]);
  assert.equal(spec.head.name, "word_embeddings");
});

it("alibiSlopes() computes BLOOM's slopes for any number of heads", () => {
  for (const heads of [1, 2, 3, 5, 6, 7, 8, 12, 16, 40, 112]) {
    assertClose(alibiSlopes(heads), alibi(heads), 1e-7, { label: `${heads} heads` });
  }
});

testRefusedSettings("BLOOM", CONFIG, [
  [{ n_head: 5 }, /hidden_size 24 is not a multiple of n_head 5/],
  [{ hidden_size: 2052 }, /heads of 513 dimensions are not supported; the limit is 512/],
  [{ n_head: undefined }, /n_head is missing/],
  [{ hidden_size: undefined }, /hidden_size is missing/],
  [{ n_layer: 1.5 }, /n_layer: /],
]);
