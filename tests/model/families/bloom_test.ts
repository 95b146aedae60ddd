/** Tests the BLOOM family with random weights against its forward pass in float64, and the configurations that it refuses. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { alibiSlopes } from "../../../src/model/pieces/attention.ts";
import { decodedLogits, decodedRows, windowLogits } from "../../support/logits.ts";
import { alibi, type BloomConfig, forwardBloom } from "../../reference/bloom_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { randomWeights, type Shapes } from "../../support/random_weights.ts";
import { testRefusedSettings } from "../../support/refused_settings.ts";

const VOCABULARY = 23;
const IDS = Uint32Array.from({ length: 19 }, (_, t) => (t * t + 3 * t + 5) % VOCABULARY);

/**
 * Returns the shapes of the tensors of a model with two blocks and hidden states of `hidden` values. The
 * names of the tensors start with `root`.
 */
function shapes(hidden: number, root = "transformer."): Shapes {
  const all: Record<string, readonly number[]> = {
    [`${root}word_embeddings.weight`]: [VOCABULARY, hidden],
  };
  const add = (name: string, out: number, ...inner: number[]) => {
    all[`${root}${name}.weight`] = [out, ...inner];
    all[`${root}${name}.bias`] = [out];
  };
  add("word_embeddings_layernorm", hidden);
  for (const block of ["h.0.", "h.1."]) {
    add(`${block}input_layernorm`, hidden);
    add(`${block}self_attention.query_key_value`, 3 * hidden, hidden);
    add(`${block}self_attention.dense`, hidden, hidden);
    add(`${block}post_attention_layernorm`, hidden);
    add(`${block}mlp.dense_h_to_4h`, 4 * hidden, hidden);
    add(`${block}mlp.dense_4h_to_h`, hidden, 4 * hidden);
  }
  add("ln_f", hidden);
  return all;
}

function configOf(heads: number, hidden: number, settings: Partial<BloomConfig> = {}): BloomConfig {
  return {
    hidden_size: hidden,
    n_layer: 2,
    n_head: heads,
    layer_norm_epsilon: 1e-5,
    apply_residual_connection_post_layernorm: false,
    ...settings,
  };
}

const OTHER_SETTINGS = { model_type: "bloom", vocab_size: VOCABULARY, seq_length: 8 };

eachBackend("the BLOOM family", (backend) => {
  for (
    const [name, config] of [
      ["four heads", configOf(4, 24)],
      ["six heads, which is not a power of two", configOf(6, 30)],
      ["one head", configOf(1, 9)],
      ["residuals after the norms", configOf(3, 24, { apply_residual_connection_post_layernorm: true })],
      ["another epsilon", configOf(2, 16, { layer_norm_epsilon: 0.01 })],
    ] as const
  ) {
    it(`computes the logits of the float64 reference with ${name} on a text longer than the trained length`, async () => {
      const { source, values } = randomWeights(shapes(config.hidden_size));
      const spec = readModelSpec({ ...OTHER_SETTINGS, ...config }, source.has);
      const model = { spec, weights: source }, expected = forwardBloom(config, values, IDS);
      assertClose(await windowLogits(model, backend(), IDS), expected, 1e-5);
      const decoded = await decodedLogits(model, backend(), IDS);
      assertClose(decoded, decodedRows(expected, VOCABULARY), 1e-5, { label: "token by token" });
    });
  }
});

it("BLOOM reads the tensor names and the setting names of published checkpoints", () => {
  const { source } = randomWeights(shapes(24, ""));
  const { hidden_size, n_layer, n_head } = configOf(4, 24);
  const sizes = { n_embed: hidden_size, num_hidden_layers: n_layer, num_attention_heads: n_head };
  const spec = readModelSpec({ ...OTHER_SETTINGS, ...sizes }, source.has);
  assert.deepEqual([spec.hiddenSize, spec.blockCount, spec.block(0).prefix(1)], [24, 2, "h.1."]);
  assert.equal(spec.head.name, "word_embeddings");
  assert.deepEqual(spec.block(0).groups.map(([{ name }]) => name), [
    "self_attention.query_key_value",
    "self_attention.dense",
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
  ]);
});

it("alibiSlopes() computes BLOOM's slopes for any number of heads", () => {
  for (const heads of [1, 2, 3, 5, 6, 7, 8, 12, 16, 40, 112]) {
    assertClose(alibiSlopes(heads), alibi(heads), 1e-7, { label: `${heads} heads` });
  }
});

testRefusedSettings("BLOOM", { ...OTHER_SETTINGS, ...configOf(4, 24) }, [
  [{ n_head: 5 }, /hidden_size 24 is not a multiple of n_head 5/],
  [{ hidden_size: 2052 }, /heads of 513 dimensions are not supported; the limit is 512/],
  [{ n_head: undefined }, /n_head is missing/],
  [{ hidden_size: undefined }, /hidden_size is missing/],
  [{ n_layer: 1.5 }, /n_layer: /],
]);
