/** Tests that a model is described for llama.cpp only if llama.cpp computes it, also if it recognises the model by its number of blocks. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { findArchitecture } from "../../../src/model/gguf/architecture.ts";
import { describeNetwork } from "../../../src/model/gguf/metadata.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";

const { weights, variants: [{ config }] } = await readFamilyFixture("exaone4");

describe("EXAONE 4, in which llama.cpp has windows if the model has 64 blocks", () => {
  /** Returns the keys of the description. Without `layer_types`, three of four blocks have a window, if there is one. */
  function keysOf(num_hidden_layers: number, sliding_window: number | null): string[] {
    const changed = { ...config, layer_types: undefined, num_hidden_layers, sliding_window };
    const spec = readModelSpec(changed, weights.has);
    return describeNetwork(changed, spec, findArchitecture(changed)).entries.map(([key]) => key);
  }

  it("is described with windows if it has 64 blocks, and without windows otherwise", () => {
    assert.ok(keysOf(64, 5).includes("exaone4.attention.sliding_window"));
    assert.ok(!keysOf(63, null).includes("exaone4.attention.sliding_window"));
  });

  it("is refused without windows if it has 64 blocks, and with windows otherwise", () => {
    assert.throws(() => keysOf(64, null), {
      name: "ModelError",
      message: /the rotation of block 3 is not one/,
    });
    assert.throws(() => keysOf(63, 5), { name: "ModelError", message: /the rotation of block 3 is not one/ });
  });
});

it("a multimodal model is refused with the advice to save its text part alone", () => {
  assert.throws(() => findArchitecture({ model_type: "gemma3" }), {
    name: "ModelError",
    message: /model_type "gemma3" cannot be exported to GGUF; .*; of a multimodal model, only a text part/,
  });
});

it("Falcon is refused if its feed-forward network does not run in parallel with attention", () => {
  assert.throws(() => findArchitecture({ model_type: "falcon", parallel_attn: false }), {
    name: "ModelError",
    message: "config.json: parallel_attn must be true for GGUF, not false",
  });
});
