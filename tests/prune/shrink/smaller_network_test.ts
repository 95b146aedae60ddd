/** Tests the sizes of a smaller model, which are known before the model is shrunk. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { type ModelFolder, openModelFolder } from "../../../src/model/model.ts";
import { withSmallerSizes } from "../../../src/prune/shrink/smaller_network.ts";
import { FAMILY_FIXTURES } from "../../support/family_fixtures.ts";

function openMixture(): Promise<ModelFolder> {
  return openModelFolder(`${FAMILY_FIXTURES}qwen3_moe`, denoFileSystem);
}

describe("withSmallerSizes()", () => {
  it("has neither the removed experts and blocks nor the rows and columns of the removed heads", async () => {
    await using mixture = await openMixture();
    const { checkpoint, model } = await withSmallerSizes(mixture, { experts: 3, heads: 2 }, 1);
    const { num_local_experts, num_attention_heads, num_hidden_layers } = checkpoint.config;
    assert.deepEqual([num_local_experts, num_attention_heads, num_hidden_layers], [3, 2, 1]);
    const { weights, spec: { blockCount, hiddenSize, block } } = model;
    const { headDim } = block(0).traits!;
    assert.equal(blockCount, 1);
    const shapeOf = (name: string) => weights.info(`model.layers.0.${name}.weight`).shape;
    assert.deepEqual(shapeOf("mlp.gate"), [3, hiddenSize]);
    assert.deepEqual(shapeOf("self_attn.o_proj"), [hiddenSize, 2 * headDim]);
    assert.deepEqual(shapeOf("self_attn.k_proj"), [headDim, hiddenSize]);
    assert.ok(weights.has("model.layers.0.mlp.experts.2.up_proj.weight"));
    for (const gone of ["0.mlp.experts.3.up_proj", "1.self_attn.o_proj"]) {
      assert.ok(!weights.has(`model.layers.${gone}.weight`), gone);
    }
  });

  it("refuses to drop all blocks", async () => {
    await using mixture = await openMixture();
    await assert.rejects(withSmallerSizes(mixture, {}, 2), {
      name: "RangeError",
      message: "--blocks 2: the model has 2 blocks, of which one must remain",
    });
  });
});
