import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readModelSpec } from "../../src/model/families/families.ts";
import { openModel } from "../../src/model/model.ts";
import { denseModules, moduleName } from "../../src/model/module_names.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { openFixture } from "../support/fixture_models.ts";

describe("moduleName()", () => {
  it("adds the prefix that names lack in checkpoints without a head, replaces that of Nemotron-H, and keeps other names", () => {
    assert.equal(moduleName("decoder.layers.0.fc1"), "model.decoder.layers.0.fc1");
    assert.equal(moduleName("layers.3.mlp.up_proj"), "model.layers.3.mlp.up_proj");
    assert.equal(moduleName("h.3.mlp.dense_h_to_4h"), "transformer.h.3.mlp.dense_h_to_4h");
    assert.equal(moduleName("backbone.layers.3.mixer.up_proj"), "model.layers.3.mixer.up_proj");
    for (const layer of ["model.decoder.layers.0.fc1", "model.layers.3.mlp.up_proj", "transformer.h.3.mlp"]) {
      assert.equal(moduleName(layer), layer);
    }
  });
});

describe("denseModules()", () => {
  it("lists the head and the layers of the blocks that are not quantised", async () => {
    const checkpoint = await openFixture("llama-sotu");
    try {
      const { spec } = openModel(checkpoint);
      const dense = denseModules(spec, (name) => !/\.1\.mlp\.(up|down)_proj\.weight$/.test(name));
      assert.deepEqual(dense, ["lm_head", "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]);
    } finally {
      await checkpoint.close();
    }
  });

  it("lists the router of Gemma 4 if all layers but the experts are quantised", async () => {
    const { variants } = await readFamilyFixture("gemma4_text");
    const { spec } = variants.find(({ config }) => config.enable_moe_block === true)!.model;
    const dense = denseModules(spec, (name) => !/experts|router/.test(name));
    const others = dense.filter((name) => !/^model\.layers\.[01]\.experts\./.test(name));
    assert.deepEqual(others, ["lm_head", "model.layers.0.router.proj", "model.layers.1.router.proj"]);
  });

  it("lists the projection to the inputs of tokens of Gemma 4", async () => {
    const { variants: [{ config }] } = await readFamilyFixture("gemma4_text_e2b");
    for (const root of ["model.", ""]) { // without a head, a checkpoint has no root
      const spec = readModelSpec(config, (name) => name === `${root}embed_tokens.weight`);
      assert.deepEqual(denseModules(spec, () => true), ["lm_head", "model.per_layer_model_projection"]);
    }
  });
});
